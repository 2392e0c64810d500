"""The engine and its ledger's seal: keys made by setup, receipts with every answer, and a stop when history changes."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from api import receipts
from api.engine import seals
from api.keys import KeyRefused
from api.settings import Settings
from db.notes import VerifierKey, open_checkpoint
from tests.engines import engine_in_thread, is_recorded, recorded, wait_for
from tests.service import Service

pytest_plugins = ("tests.deployments",)


@contextmanager
def database(var: Path) -> Iterator[sqlite3.Connection]:
    """Open the database as somebody who has its file."""
    with closing(sqlite3.connect(var / "onrecord.db", isolation_level=None)) as connection:
        yield connection


def notes(var: Path) -> list[int]:
    """Open every note with the published key and name the sizes."""
    key = VerifierKey.parse((var / "ledger.pub").read_text().strip())
    with database(var) as connection:
        found = connection.execute("SELECT size, text FROM note ORDER BY size").fetchall()
    assert [open_checkpoint(text, key).checkpoint.size for _, text in found] == [size for size, _ in found]
    return [size for size, _ in found]


def size_of(var: Path) -> int:
    with database(var) as connection:
        return int(connection.execute("SELECT size FROM head").fetchone()[0])


def test_setup_makes_the_keys_of_the_ledger(prepared: Path) -> None:
    """Private keys for their user only, the public one for everybody, and a name no other ledger has."""
    modes = {
        name: stat.S_IMODE((prepared / name).stat().st_mode)
        for name in ("keys/ledger", "keys/ledger/sign.pem", "keys/ledger/mac.key", "ledger.pub")
    }
    assert list(modes.values()) == [0o700, 0o600, 0o600, 0o644]
    key = VerifierKey.parse((prepared / "ledger.pub").read_text().strip())
    with database(prepared) as connection:
        assert connection.execute("SELECT origin FROM head").fetchone() == (key.name,)
    assert key.name.startswith("onrecord.local/")
    assert notes(prepared)[-1] == size_of(prepared)


def test_a_lost_public_key_is_written_again(var: Path) -> None:
    """It can be made from the private one and the sealed head; everything else stays."""
    before = (var / "ledger.pub").read_bytes()
    (var / "ledger.pub").unlink()

    assert "ledger.pub" in Service(var).command("setup").stdout
    assert (var / "ledger.pub").read_bytes() == before


@pytest.mark.parametrize("name", ["sign.pem", "mac.key"])
def test_lost_private_keys_are_not_made_anew(var: Path, name: str) -> None:
    """A sealed ledger never gets other keys: setup and engine say which file has to come back."""
    (var / "keys" / "ledger" / name).unlink()
    (var / "clients" / "demo.json").unlink()

    for command in ("setup", "engine"):
        refused = Service(var).command(command, check=False)
        assert refused.returncode == 2
        assert name in refused.stderr
        assert "restore the backup" in refused.stderr
    assert not (var / "keys" / "ledger" / name).exists()


def test_keys_that_do_not_belong_together_are_refused(var: Path, tmp_path: Path) -> None:
    """A public key that is not that of the private one is never served under."""
    seals.create(tmp_path)
    (tmp_path / "keys" / "ledger" / "sign.pem").replace(var / "keys" / "ledger" / "sign.pem")

    with pytest.raises(KeyRefused, match="is not the public key"):
        seals.read(var)


def test_a_new_database_is_another_ledger(var: Path) -> None:
    """With the old keys, a ledger that begins again has another origin: it does not deny the old one."""
    before = (var / "ledger.pub").read_text()
    for suffix in ("", "-wal", "-shm"):
        (var / f"onrecord.db{suffix}").unlink(missing_ok=True)
    (var / "anchor.log").unlink(missing_ok=True)
    assert "sealed the ledger" in Service(var).command("setup").stdout

    assert (var / "ledger.pub").read_text() != before


def test_every_answer_comes_with_its_receipt(settings: Settings) -> None:
    """The head of a recorded answer carries the receipt; the answer that is on no record has none."""
    body = b'{"instances":[{"age":50}]}'
    with engine_in_thread(settings) as door:
        numbers = [door.send_body("housing", body) for _ in range(20)]
        numbers += [door.send("housing", {"age": "fifty"})]
        answers = door.receive(*numbers)
        nothing = door.predict("nothing", {"age": 50})

    key = VerifierKey.parse((settings.var / "ledger.pub").read_text().strip())
    for number, answer in zip(numbers, answers, strict=True):
        receipt = receipts.read(answer.head["receipt"])
        assert receipt.key_id == f"{key.name}+{key.id.hex()}"
        found = recorded(settings, door.records[number])
        assert receipt.index == found.idx
        assert answer.body == found.output
    assert "receipt" not in nothing.head


def test_meta_names_model_and_version(settings: Settings) -> None:
    """What the columns say of a prediction that failed can be held against bytes that the leaf commits to."""
    with engine_in_thread(settings) as door:
        number = door.send("housing", {"age": "fifty"})
        door.receive(number)

    meta = json.loads(recorded(settings, door.records[number]).meta)
    assert (meta["model"], meta["version"]) == ("housing", "1")


def test_notes_follow_soon_and_end_with_the_last_record(settings: Settings) -> None:
    """A record has a checkpoint that everybody can see soon, and a stopped engine leaves none without."""
    with engine_in_thread(settings) as door:
        door.predict("housing", {"age": 50})
        size = size_of(settings.var)
        wait_for(lambda: notes(settings.var)[-1] == size)
        for age in range(40):
            door.predict("housing", {"age": age + 1})

    found = notes(settings.var)
    assert found[-1] == size_of(settings.var) == size + 40
    assert len([each for each in found if each > size]) <= 3  # once a second, not once a group


def test_a_head_that_was_changed_stops_the_engine(settings: Settings) -> None:
    """Nothing is promised on a ledger that somebody wrote to: 503, for ever, and its state says why without names."""
    with engine_in_thread(settings) as door:
        assert door.predict("housing", {"age": 50}).status == 201
        with database(settings.var) as connection:
            connection.execute("UPDATE head SET mac = zeroblob(32)")
        numbers = [door.send("housing", {"age": 50}) for _ in range(3)]
        answers = door.receive(*numbers)
        state: dict[str, Any] = door.ask(do="state").content
        change = door.ask(
            do="change", name="client.add", args={"name": "x", "scope": "predict"}, actor={"client_id": "t"}
        )

        assert [(each.status, each.problem) for each in answers] == [(503, "audit-unavailable")] * 3
        assert (change.status, change.problem) == (503, "audit-unavailable")
    assert state["ledger"] == "stopped: what is stored is not what was recorded; the log says why"
    assert not any(is_recorded(settings, door.records[each]) for each in numbers)
    assert "head" not in answers[0].body.decode()


def test_an_engine_does_not_start_on_a_head_that_was_changed(var: Path) -> None:
    """The first look is before the first promise: exit code 2 and one line."""
    with database(var) as connection:
        connection.execute("UPDATE head SET size = size - 1")
    refused = Service(var).command("engine", check=False)

    assert refused.returncode == 2
    assert "contradicts itself" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_migrate_seals_what_it_migrated(var: Path) -> None:
    """A ledger without a seal gets one from `migrate`, too; then there is nothing to do."""
    with database(var) as connection:
        connection.execute("UPDATE head SET mac = x'', origin = ''")

    assert "sealed the ledger" in Service(var).command("migrate").stdout
    assert "nothing to do" in Service(var).command("migrate").stdout
