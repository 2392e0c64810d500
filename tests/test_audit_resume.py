"""An audit that was cut off goes on where it was, and the next one begins where the last one ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.outside import INTERRUPTED, NOT_ANCHORED, TAMPERED, VERIFIED, exit_code
from db import auditing_pool
from db.audit import How
from db.auditing import Cause
from db.auditing_resume import Reached, ReachedRefused, decode, encode
from db.notes import Signer
from tests.ledgers import DATABASES, SEAL, fresh, predicted, writing
from tests.service import ROOT
from tests.tampering import KEY, SIZE, Copies, Rigged

OTHER = Signer(name=KEY.name, private=Ed25519PrivateKey.from_private_bytes(bytes(32))).key()
MANY = 60_000  # enough for a run to be met half-way, on a fast machine, too


@dataclass
class Kept:
    """What an audit said of how far it came; after so many times it is cut off."""

    cut_after: int = 2**30
    said: list[Reached] = field(default_factory=list)

    def keep(self, reached: Reached) -> None:
        self.said.append(reached)
        if len(self.said) >= self.cut_after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Make ledgers to be copied."""
    return Copies(request, tmp_path_factory.mktemp("ledgers"))


@pytest.fixture(params=DATABASES)
def rigged(request: pytest.FixtureRequest, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> Rigged:
    """Take a fresh copy, to be audited in many small ranges."""
    monkeypatch.setattr(auditing_pool, "RANGE", 37)
    return copies.new(request.param)


def cut_off(rigged: Rigged, after: int) -> Reached:
    """Audit until the ranges are so many, and say how far it came."""
    kept = Kept(cut_after=after)
    with pytest.raises(KeyboardInterrupt):
        rigged.audit(how=How(keep=kept.keep))
    return kept.said[-1]


@pytest.mark.parametrize("after", [1, 2, 5, 8, 9])
def test_an_audit_goes_on_where_it_was_cut_off(rigged: Rigged, after: int) -> None:
    """V1: what comes out is what one without a pause gives, but for what it says of the pause."""
    reached = decode(encode(cut_off(rigged, after), KEY, None), KEY, None)
    resumed, whole = rigged.audit(how=How(since=reached)), rigged.audit()

    assert (resumed.since, whole.since) == (min(37 * after, SIZE), 0)
    assert (resumed.findings, exit_code(resumed)) == ((), VERIFIED)
    for name in (
        "size",
        "root",
        "records",
        "payloads",
        "predictions",
        "erased",
        "notes",
        "signed",
        "anchored",
    ):
        assert getattr(resumed, name) == getattr(whole, name), name


def test_what_is_new_is_verified_alone(rigged: Rigged) -> None:
    """The end of one audit is where the next one begins; a change in what is new is found."""
    kept = Kept()
    rigged.audit(how=How(keep=kept.keep))
    grown = rigged.grow(20)
    later = grown.audit(how=How(since=kept.said[-1]))
    grown.run(f"UPDATE prediction SET score = 7 WHERE idx = {SIZE + 3}")
    changed = grown.audit(how=How(since=kept.said[-1]))

    assert (later.findings, later.since, later.records) == ((), SIZE, SIZE + 20)
    assert (changed.findings[0].at, changed.findings[0].cause) == (SIZE + 3, Cause.PREDICTION)


def test_what_was_erased_since_is_accounted_for(rigged: Rigged) -> None:
    """A record that was sound then and is erased now is counted as what it is now, and its erasure is checked."""
    kept = Kept()
    rigged.audit(how=How(keep=kept.keep))
    erased = rigged.erase("r-20", "r-21")
    later = erased.audit(how=How(since=kept.said[-1]))
    forged = "UPDATE erased SET fields = 1 WHERE erasure_idx > (SELECT size - 2 FROM head)"
    erased.run(forged)

    assert (later.findings, later.erased) == ((), 5)
    assert exit_code(erased.audit(how=How(since=kept.said[-1]))) == TAMPERED


def test_nothing_is_kept_once_something_was_found(rigged: Rigged) -> None:
    """Whoever resumes comes by the finding again."""
    rigged.run("UPDATE prediction SET score = 7 WHERE idx = 100")
    kept = Kept()
    first = rigged.audit(how=How(keep=kept.keep))
    second = rigged.audit(how=How(since=kept.said[-1]))

    assert [each.size for each in kept.said] == [37, 74]
    assert first.findings == second.findings != ()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record WHERE idx = 20",
        "DELETE FROM payload WHERE record_id = (SELECT id FROM record WHERE idx = 20)",
        "DELETE FROM prediction WHERE idx = 20",
        "UPDATE client SET scope = 'audit:read'",
        "UPDATE client_secret SET hash = (SELECT root FROM head)",
        "DELETE FROM tile WHERE level = 1",
        "DELETE FROM erased",
    ],
)
def test_what_can_be_seen_without_reading_it_again_is_seen(rigged: Rigged, statement: str) -> None:
    """Rows that are gone, from any table, and the state are found all the same."""
    kept = Kept()
    rigged.audit(how=How(keep=kept.keep))
    rigged.run(statement)

    assert exit_code(rigged.audit(how=How(since=kept.said[-1]))) == TAMPERED


def test_a_database_that_was_rolled_back_is_not_what_was_reached(rigged: Rigged, copies: Copies) -> None:
    """Whoever kept how far it came has an anchor: fewer records, or another history, are a finding."""
    grown = copies.copy(rigged).grow(5)
    kept = Kept()
    grown.audit(how=How(keep=kept.keep))
    shorter = rigged.audit(how=How(since=kept.said[-1]))
    other = rigged.grow(9).audit(anchored=False, how=How(since=kept.said[-1]))

    assert (shorter.findings[0].at, shorter.findings[0].cause) == (SIZE, Cause.ANCHOR)
    assert exit_code(other) == TAMPERED


def test_anchors_about_less_than_was_reached_are_proven(rigged: Rigged) -> None:
    """A checkpoint that comes in late is held against what was found sound before."""
    kept = Kept()
    rigged.audit(how=How(keep=kept.keep))
    grown = rigged.grow(3)
    sound = grown.audit(how=How(since=kept.said[-1]))
    lying = Rigged(grown.url, (signed(41, bytes(32)),)).audit(how=How(since=kept.said[-1]))

    assert (sound.findings, sound.anchored) == ((), SIZE + 3)
    assert {each.cause for each in lying.findings} == {Cause.ANCHOR}


def signed(size: int, root: bytes) -> bytes:
    """Sign a checkpoint with the ledger's key."""
    return SEAL.note(size, root)


@pytest.mark.parametrize("mac_key", [None, SEAL.mac_key])
def test_a_file_of_another_ledger_or_a_changed_one_is_refused(rigged: Rigged, mac_key: bytes | None) -> None:
    """Every byte counts, and so do both keys; a file made without the key of the mac is no file made with it."""
    written = encode(cut_off(rigged, 3), KEY, mac_key)

    assert decode(written, KEY, mac_key).size == 111
    for number in range(len(written)):
        flipped = written[:number] + bytes([written[number] ^ 1]) + written[number + 1 :]
        with pytest.raises(ReachedRefused):
            decode(flipped, KEY, mac_key)
    with pytest.raises(ReachedRefused, match="belongs to the ledger"):
        decode(written, OTHER, mac_key)
    for key in (None, SEAL.mac_key, bytes(32)):
        if key != mac_key:
            with pytest.raises(ReachedRefused, match="was changed"):
                decode(written, KEY, key)


def test_ctrl_c_leaves_a_state_and_never_says_that_all_is_well(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """V1, on the command line: interrupted it exits 130, killed it leaves what was on disk; both go on from there."""
    url = fresh("sqlite", request, tmp_path)
    with writing(url, 60.0) as ledger:
        for _ in range(0, MANY, 500):
            ledger.append([predicted() for _ in range(500)])
    (tmp_path / "ledger.pub").write_text(str(KEY))
    command = Command(url, tmp_path)
    interrupted = command.until_state(signal.SIGINT)
    said = command.output()
    reached = decode((tmp_path / "state").read_bytes(), KEY, None).size
    killed = command.until_state(signal.SIGKILL)
    finished = command.run()
    again = command.run()

    assert (interrupted, killed) == (INTERRUPTED, -signal.SIGKILL), said
    assert 0 < reached < MANY
    assert f"the first {reached} records were sound" in said
    assert (finished.returncode, again.returncode) == (NOT_ANCHORED, NOT_ANCHORED)
    assert "found sound by an earlier run" in finished.stdout
    assert f"since       the first {MANY} records" in again.stdout
    (tmp_path / "state").write_text("{}")
    assert command.run().returncode == 2


class Command:
    """`python -m api verify --state`, as an auditor types it; one that shall not get to its end rests after each save.

    A fast machine is through with all that a test can make before a signal reaches it.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._state, self._out = folder / "state", folder / "out"
        self._environment = os.environ | {"DATABASE_URL": url, "ONRECORD_VAR": str(folder)}
        self._asked = [
            "verify",
            "--key",
            str(folder / "ledger.pub"),
            "--state",
            str(self._state),
            "--processes",
            "1",
        ]

    def until_state(self, number: int) -> int:
        """Start it, wait until it has written how far it came, send a signal; return the exit code."""
        before = self._state.read_bytes() if self._state.exists() else b""
        resting = (
            "import signal, time, api.resuming as r; flush = r.StateFile.flush;"
            "signal.signal(signal.SIGINT, signal.default_int_handler);"  # which a suite in the background ignores
            "r.StateFile.flush = lambda file: (flush(file), time.sleep(0.5))[0];"
            "from api.__main__ import main; main(prog_name='api')"
        )
        command = [sys.executable, "-c", resting, *self._asked]
        with self._out.open("wb") as out:
            started = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=out, stderr=out)
        deadline = time.monotonic() + 120
        while not self._state.exists() or self._state.read_bytes() == before:
            assert time.monotonic() < deadline
            assert started.poll() is None, self.output()
            time.sleep(0.01)
        started.send_signal(number)
        return started.wait(120)

    def output(self) -> str:
        """Return what it said last."""
        return self._out.read_text()

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "api", *self._asked],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
