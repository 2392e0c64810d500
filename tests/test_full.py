"""P1 when the disk is full: every group is denied, nothing is lost, and work goes on when there is room, unaided."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.anchoring import AnchorFile, read_anchor
from api.settings import Settings
from db.ledger import Ledger
from db.notes import open_checkpoint
from tests.conftest import must_have
from tests.engines import engine_in_thread, wait_for
from tests.families import wait_until
from tests.ledgers import SEAL, fresh
from tests.postgres import Postgres
from tests.writer import Writer, findings, writer

pytest_plugins = ("tests.deployments",)

ROUNDS = int(os.environ.get("ONRECORD_SOAK", "4"))
PAGE = 4096 + 24  # of SQLite's log, with its header
DEADLINE_S = 0.5
IN_TIME_S = 30.0
TRIES = 2000  # groups of 50 that never fit into so small a disk


@contextmanager
def no_file_beyond(pid: int, size: int) -> Iterator[None]:
    """Let no file of a process grow beyond a size, as on a disk that is full."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of so many megabytes."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        must_have("the right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def filled(disk: Path, spare: int = 0) -> Iterator[None]:
    """Take all the room on a disk but for some bytes."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        room = os.statvfs(disk)
        ballast.truncate(0)
        left = max(0, room.f_bavail * room.f_frsize - spare)
        while left > 0:
            left -= ballast.write(bytes(min(left, 1 << 20)))
    try:
        yield
    finally:
        (disk / "ballast").unlink()


def append_until_denied(writing: Writer) -> str:
    """Append until it is not possible."""
    for _ in range(TRIES):
        if (said := writing.ask("append", 50)) != "done":
            return said
    raise AssertionError("the disk was never full")


@pytest.mark.soak
@pytest.mark.parametrize("mutations", [(), ("checkpoints-at-once",)], ids=["log", "checkpoint"])
def test_a_file_that_cannot_grow_denies_the_group(
    request: pytest.FixtureRequest, tmp_path: Path, mutations: tuple[str, ...]
) -> None:
    """C6: wherever in a group SQLite's files stop growing, the group is denied, the next one stored, none lost."""
    url = fresh("sqlite", request, tmp_path)
    file, journals = Path(url.removeprefix("sqlite:///")), tmp_path / "journals"
    denied = 0
    with writer(url, journals, *mutations, deadline_s=DEADLINE_S) as writing:
        for number in range(ROUNDS):
            assert writing.ask("append", 1) == "done"
            largest = max(each.stat().st_size for each in file.parent.glob("ledger.db*"))
            more = 1 if number == 0 else random.randrange(12 * PAGE)
            with no_file_beyond(writing.pid, largest + more):
                if number == 0:  # a log that is begun anew grows only when it is longer than ever
                    denied += append_until_denied(writing).startswith("LedgerUnavailable")
                denied += writing.ask("append", 50).startswith("LedgerUnavailable")
                denied += writing.ask("append", 50).startswith("LedgerUnavailable")
            assert writing.ask("append", 1) == "done"
            assert findings(url, journals) == []
    assert denied >= 1
    sys.stdout.write(f"\n  {denied} of {2 * ROUNDS + 1} groups were denied")


@pytest.mark.parametrize("spare", [0, 9000])
def test_a_full_disk_denies_until_there_is_room(
    request: pytest.FixtureRequest, tmp_path: Path, spare: int
) -> None:
    """C6: on a disk without room SQLite's ledger denies, and promises again as soon as something was deleted."""
    with small_disk(tmp_path / "disk", 8) as disk:
        url = fresh("sqlite", request, disk)
        with writer(url, tmp_path / "journals", deadline_s=DEADLINE_S) as writing:
            assert writing.ask("append", 50) == "done"
            with filled(disk, spare):
                assert append_until_denied(writing).startswith("LedgerUnavailable")
                writing.ask("note")
            assert writing.ask("append", 50) == "done"
            assert writing.ask("note") == "done"
        assert findings(url, tmp_path / "journals") == []


def test_a_full_disk_under_postgresql_denies_until_there_is_room(short_folder: Path, tmp_path: Path) -> None:
    """C6: the same with PostgreSQL, whether it refuses a page or ends for want of room for its log."""
    with small_disk(short_folder / "disk", 120) as disk, Postgres(disk / "pg") as server:
        url = server.new_ledger()
        with writer(url, tmp_path / "journals", deadline_s=DEADLINE_S) as writing:
            assert writing.ask("append", 50) == "done"
            with filled(disk):
                assert append_until_denied(writing).startswith("LedgerUnavailable")
            wait_until(lambda: writing.ask("append", 1) == "done", IN_TIME_S)
        assert findings(url, tmp_path / "journals") == []


def test_a_full_anchor_volume_loses_no_checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """C15: while checkpoints cannot be kept outside, that is said every time; then the newest one is kept."""
    url = fresh("sqlite", request, tmp_path)
    anchor = tmp_path / "anchor.log"
    anchor.symlink_to("/dev/full")
    with writer(url, tmp_path / "journals") as writing:
        for _ in range(2):
            assert writing.ask("append", 1) == "done"
            assert "No space left" in writing.ask("note")
        anchor.unlink()
        assert writing.ask("note") == "done"

    [note] = read_anchor(anchor)
    assert open_checkpoint(note, SEAL.signer.key()).checkpoint.size == 2
    assert AnchorFile(anchor).last() == note


def test_an_engine_serves_while_its_anchor_is_full_and_says_so(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """C15: answers go on with their receipts, every checkpoint that is not kept is in the log, and the next one is."""
    settings.anchor.unlink(missing_ok=True)
    settings.anchor.symlink_to("/dev/full")

    def anchored(ledger: Ledger) -> Ledger:
        ledger._anchor = AnchorFile(settings.anchor).append
        return ledger

    said: list[str] = []

    def is_said() -> bool:
        said.append(capsys.readouterr().out)
        return "note-not-written" in "".join(said)

    with engine_in_thread(settings, anchored) as door:
        assert door.predict("housing", {"age": 50}).status == 201
        wait_for(is_said)
        assert door.predict("housing", {"age": 51}).status == 201
        settings.anchor.unlink()
        wait_for(lambda: settings.anchor.exists() and AnchorFile(settings.anchor).last() is not None)

    assert "No space left" in "".join(said)
