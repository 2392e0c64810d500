"""A witness that dies, whose disk fails, or that is started wrongly: it never contradicts what it has cosigned."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from db import sqlite
from db.engine import StorageRefused, StorageUnavailable
from db.notes import COSIGNATURE, Signer, VerifierKey
from db.witness import NotGrown, OtherSize, Witness
from tests.service import ROOT, free_port
from tests.witnesses import PRIVATE, Log, command, wait_until_live, witnessing

SIGNER = Signer(name="witness.test/1", private=PRIVATE)
NOW_S = 1_795_176_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name the file of a witness in this process."""
    return tmp_path / "witness.db"


def opened(file: Path, log: Log) -> Witness:
    return Witness(file, SIGNER, [log.signer.key()], lambda: NOW_S)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_witness_killed_around_its_commit_contradicts_nobody(file: Path, is_kept: bool) -> None:
    """Killed after its commit, it knows what it would have cosigned; before, nothing; no fork passes in either case."""
    log = Log("log.test/killed")
    opened(file, log).close()
    child = os.fork()
    if not child:  # pragma: no cover  # dies inside
        _die_at_commit(file, log, is_kept=is_kept)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    witness = opened(file, log)
    if is_kept:
        with pytest.raises(OtherSize, match="has 3 records"):
            witness.add(Log(log.origin, "forked").submission(0, 3))
        with pytest.raises(NotGrown):
            witness.add(Log(log.origin, "forked").submission(3, 4))
        assert witness.add(log.submission(3, 3))
    else:
        assert witness.add(log.submission(0, 3))
    witness.close()


def _die_at_commit(file: Path, log: Log, *, is_kept: bool) -> None:
    try:
        witness = opened(file, log)

        def die(connection: Any) -> None:
            if is_kept:
                super(sqlite._Pen, connection).commit()
            os.kill(os.getpid(), signal.SIGKILL)

        sqlite._Pen.commit = die  # type: ignore[method-assign]  # this process ends there
        witness.add(log.submission(0, 3))
    finally:
        os._exit(1)


def test_what_could_not_be_kept_is_not_cosigned(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails answers nothing; the next submission begins where the disk is."""
    log = Log("log.test/full")
    witness = opened(file, log)
    with monkeypatch.context() as failing:
        failing.setattr(sqlite._Pen, "commit", _fail, raising=False)
        with pytest.raises(StorageUnavailable):
            witness.add(log.submission(0, 3))

    assert witness.add(log.submission(0, 4))
    witness.close()


def _fail(connection: Any) -> None:
    connection.rollback()
    raise sqlite3.OperationalError("disk I/O error")


def test_a_witness_killed_again_and_again_never_takes_back(tmp_path: Path) -> None:
    """Killed with SIGKILL while it cosigns, it never knows less than it has answered, nor loses its key."""
    log, port, answered = Log("log.test/again"), free_port(), 0
    keys = set()
    for _ in range(4):
        with witnessing(tmp_path / "own", str(log.signer.key()), port=port) as running:
            keys.add(running.key)
            size = int(running.add(log.submission(0, 10_000)).text) if answered else 0
            assert size >= answered
            killer = threading.Timer(0.3, running.process.kill)
            killer.start()
            try:
                while True:
                    assert running.add(log.submission(size, size + 1)).status_code == 200
                    answered = size = size + 1
            except httpx.HTTPError:
                running.process.wait(30)
    assert len(keys) == 1
    assert answered


def test_one_process_holds_the_file(file: Path, tmp_path: Path) -> None:
    """A second witness over the same folder is refused: two would each believe to be the only one."""
    witness = opened(file, Log("log.test/x"))
    with pytest.raises(StorageRefused, match="another process"):
        opened(file, Log("log.test/x"))
    witness.close()


@pytest.mark.parametrize(
    ("log", "name", "said"),
    [
        ("nonsense", None, "--log nonsense"),
        (str(SIGNER.key(COSIGNATURE)), None, "type 1"),
        (str(SIGNER.key()), "with space", "--name with space"),
    ],
)
def test_a_witness_that_cannot_work_says_why(tmp_path: Path, log: str, name: str | None, said: str) -> None:
    """Exit code 2 and one line that names the option."""
    refused = subprocess.run(
        command(tmp_path / "own", log, port=free_port(), name=name),
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )

    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr


def test_a_name_is_for_ever(tmp_path: Path) -> None:
    """The key is made once; another name would make another witness of it, and is refused."""
    log = str(SIGNER.key())
    with witnessing(tmp_path / "own", log, name="witness.test/first") as first:
        assert first.key.name == "witness.test/first"
    with witnessing(tmp_path / "own", log) as again:
        assert again.key == first.key
        wait_until_live(again)
    other = command(tmp_path / "own", log, port=free_port(), name="witness.test/second")
    refused = subprocess.run(other, cwd=ROOT, text=True, capture_output=True, check=False)

    assert (refused.returncode, "a name is for ever" in refused.stderr) == (2, True)
    assert isinstance(first.key, VerifierKey)
