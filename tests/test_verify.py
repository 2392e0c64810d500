"""The command that audits, and the anchor file a start is held to, as an operator meets them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from api.anchoring import AnchorFile, AnchorRefused, read_anchor
from db.engine import open_reader
from db.notes import Checkpoint, sign
from tests.ledgers import SEAL
from tests.service import Service, running
from tests.tampering import KEY, SIZE, Copies, signed_by_another

AGE = {"age": 50}


def note(size: int, root: bytes = bytes(32)) -> bytes:
    """Sign a checkpoint with the tests' key."""
    return sign(Checkpoint(origin=SEAL.origin, size=size, root=root).text(), SEAL.signer)


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Make ledgers to be copied."""
    return Copies(request, tmp_path_factory.mktemp("ledgers"))


@pytest.fixture
def anchor(tmp_path: Path) -> AnchorFile:
    """Name an anchor file that is not there yet."""
    return AnchorFile(tmp_path / "anchor.log")


@contextmanager
def reader(url: str) -> Iterator[Engine]:
    """Read a ledger for a while."""
    engine = open_reader(url)
    try:
        yield engine
    finally:
        engine.dispose()


def edit(service: Service, statement: str) -> None:
    """Change the database by hand, past the triggers, as its owner could."""
    with closing(sqlite3.connect(service.var / "onrecord.db", isolation_level=None)) as file:
        file.execute("DROP TRIGGER IF EXISTS record_forbids_update")
        file.execute(statement)


def test_verify_names_the_row_that_was_edited_by_hand(short_folder: Path) -> None:
    """The real service: verified while it runs and when it has stopped; after one edit the record is named."""
    with running(short_folder / "verify") as service, service.caller() as caller:
        for _ in range(3):
            assert caller.predict("housing", AGE).status_code == 201
        meanwhile = service.command("verify", check=False)
        service.stop()
        after = json.loads(service.command("verify", "--json").stdout)
        edit(service, f"UPDATE record SET observed_at_us = 1 WHERE idx = {after['size'] - 2}")
        edited = service.command("verify", check=False)
        no_key = service.command("verify", "--key", str(service.var / "clients" / "demo.json"), check=False)

    assert (meanwhile.returncode, "verified" in meanwhile.stdout) == (0, True), meanwhile
    assert (after["exit_code"], after["records"], after["anchored"]) == (0, after["size"], after["size"])
    assert edited.returncode == 1
    assert f"first at record {after['size'] - 2} (column)" in edited.stdout
    assert (no_key.returncode, no_key.stdout) == (2, "")
    assert "is no public key of a ledger" in no_key.stderr


def test_an_anchor_is_read_as_it_was_written(anchor: AnchorFile) -> None:
    """Every checkpoint comes back byte for byte, the newest one first asked for."""
    assert anchor.last() is None
    written = [note(size) for size in (3, 5, 8)]
    for each in written:
        anchor.append(each)

    assert read_anchor(anchor.path) == written
    assert anchor.last() == written[-1]
    assert anchor.path.read_bytes().count(b"\n") == len(written)


def test_a_torn_line_is_passed_over(anchor: AnchorFile) -> None:
    """A crash in the middle of a line costs that line only, also once others follow it."""
    whole = note(3)
    anchor.append(whole)
    line = anchor.path.read_bytes()
    for length in range(1, len(line)):
        anchor.path.write_bytes(line + line[:length])
        assert anchor.last() == whole
    for length in range(1, len(line)):
        anchor.path.write_bytes(line + line[:length])
        anchor.append(note(5))
        assert read_anchor(anchor.path) == [whole, note(5)]


def test_a_signed_note_is_an_anchor_too(anchor: AnchorFile) -> None:
    """What `GET /v1/ledger/checkpoint` answered can be saved and held against the ledger later."""
    anchor.path.write_bytes(note(7))

    assert read_anchor(anchor.path) == [note(7)]


@pytest.mark.parametrize("size", [0, 1, 11, 12, SIZE])
def test_a_ledger_that_grew_from_its_anchor_starts(anchor: AnchorFile, copies: Copies, size: int) -> None:
    """Any earlier checkpoint of the same ledger lets it start."""
    rigged = copies.new("sqlite")
    anchor.append(note(size, rigged.root(size)))

    with reader(rigged.url) as engine:
        anchor.check(engine, KEY)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (note(SIZE + 1), f"knows {SIZE + 1} records, and the database has only {SIZE}: it was rolled back"),
        (note(SIZE), f"knows another history of the first {SIZE} of {SIZE} records"),
        (note(7), f"knows another history of the first 7 of {SIZE} records"),
        (signed_by_another(SEAL.origin, 7, bytes(32)), "ends in a checkpoint of another ledger"),
    ],
)
def test_a_ledger_that_is_not_the_anchored_one_does_not_start(
    anchor: AnchorFile, copies: Copies, last: bytes, reason: str
) -> None:
    """Rolled back, rewritten or another one: the refusal names the setting, both sizes and the cure."""
    anchor.append(last)

    with reader(copies.new("sqlite").url) as engine, pytest.raises(AnchorRefused, match=reason) as refused:
        anchor.check(engine, KEY)
    assert "ONRECORD_ANCHOR" in str(refused.value)
    assert refused.value.cure


def test_a_service_behind_its_anchor_is_refused(short_folder: Path) -> None:
    """A restored backup does not start: exit code 2, one line; verify says which records are gone."""
    with running(short_folder / "rolled") as service, service.caller() as caller:
        assert service.stop() == 0
        kept = (service.var / "onrecord.db").read_bytes()
        service.start()
        assert caller.predict("housing", AGE).status_code == 201
        service.stop()
        for rest in ("-wal", "-shm"):
            (service.var / f"onrecord.db{rest}").unlink(missing_ok=True)
        (service.var / "onrecord.db").write_bytes(kept)
        refused = service.command("engine", check=False)
        seen = service.command("verify", check=False)
        (service.var / "anchor.log").unlink()
        blind = service.command("verify", check=False)

    assert refused.returncode == 2
    assert "refused: ONRECORD_ANCHOR" in refused.stderr
    assert (seen.returncode, "(anchor)" in seen.stdout) == (1, True), seen
    assert (blind.returncode, "NOT anchored" in blind.stdout) == (3, True), blind
