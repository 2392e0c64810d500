"""P1 when the current fails: whatever a disk kept of what was not synced, no promised record is missing on SQLite."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import power
from tests.conftest import must_have
from tests.ledgers import fresh, predicted, writing
from tests.power import WAYS, Event
from tests.writer import findings, writer

# How many cuts of each random way at every moment; 0: some moments, one way each.
CUTS = -(-int(os.environ.get("ONRECORD_SOAK", "0")) // 50)
SOME = 60
SIZES = (1, 3, 1, 20, 2, 1)
EVERY_SETTING = {"as built": (), "checkpoints at once": ("checkpoints-at-once",)}


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """Make an empty ledger in a file, and remember how it began."""
    if shutil.which("strace") is None:
        must_have("strace")
    url = fresh("sqlite", request, tmp_path)
    yield url, Path(url.removeprefix("sqlite:///")).read_bytes()


def written(url: str, folder: Path, *mutations: str) -> list[Event]:
    """Let a writer append some groups and a note, and record what it did."""
    with (
        writer(url, folder / "journals", *mutations) as scribe,
        power.recorded(scribe.pid, folder / "trace.txt"),
    ):
        assert scribe.ask("open") == "done"
        for size in SIZES:
            assert scribe.ask("append", size) == "done"
        assert scribe.ask("note") == "done"
        assert scribe.ask("append", 2) == "done"
    return list(power.events((folder / "trace.txt").read_text()))


def found_after(start: bytes, before: list[Event], way: str, folder: Path) -> list[str]:
    """Cut the current, start again with the SQLite that is used, go on, and compare with what was promised."""
    shutil.rmtree(folder, ignore_errors=True)
    power.left(start, before, WAYS[way], folder)
    url = f"sqlite:///{folder}/ledger.db"
    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as connection:
        found = [str(each) for each in connection.execute("PRAGMA integrity_check") if each != ("ok",)]
        found += findings(url, folder / "journals")
    with writing(url) as ledger:
        ledger.append([predicted()])
    return found


def moments(events: list[Event]) -> Iterator[tuple[int, str]]:
    """Choose when to cut, and what the disk keeps: always right after a promise, when nothing else is kept."""
    promised = [at for at, event in enumerate(events, 1) if b'"told"' in event.data]
    yield from ((at, "nothing") for at in promised)
    if CUTS == 0:
        yield from ((random.randint(0, len(events)), random.choice(list(WAYS))) for _ in range(SOME))
        return
    for at in range(len(events) + 1):
        yield from (
            (at, way) for way in WAYS for _ in range(CUTS if way in ("some writes", "torn sectors") else 1)
        )


@pytest.mark.soak
@pytest.mark.parametrize("setting", EVERY_SETTING)
def test_no_promise_is_lost_in_a_power_cut(start: tuple[str, bytes], tmp_path: Path, setting: str) -> None:
    """C3: at every moment, whatever was kept of the writes since the last sync, what was promised is there."""
    url, began = start
    events = written(url, tmp_path, *EVERY_SETTING[setting])
    cuts = 0
    for at, way in moments(events):
        assert found_after(began, events[:at], way, tmp_path / "after") == [], f"{way} kept at event {at}"
        cuts += 1
    sys.stdout.write(f"\n  {setting}: {cuts} power cuts among {len(events)} events")


@pytest.mark.parametrize("mutation", ["syncs-seldom", "syncs-nothing"])
def test_a_writer_that_does_not_sync_loses_promises(
    start: tuple[str, bytes], tmp_path: Path, mutation: str
) -> None:
    """C3: the same cuts find that synchronous=NORMAL, or OFF, takes records that were promised."""
    url, began = start
    events = written(url, tmp_path, mutation)
    promised = [at for at, event in enumerate(events, 1) if b'"told"' in event.data]
    found = [found_after(began, events[:at], "nothing", tmp_path / "after") for at in promised]

    assert len(promised) == len(SIZES) + 1
    assert all("was answered" in str(each) for each in found)


def test_a_trace_is_read_as_it_was_written(start: tuple[str, bytes], tmp_path: Path) -> None:
    """A cut that takes nothing leaves exactly the files that the writer left."""
    url, began = start
    events = written(url, tmp_path)
    power.left(began, events, WAYS["everything"], tmp_path / "after")

    for name in ("ledger.db", "ledger.db-wal"):
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert findings(url, tmp_path / "after" / "journals") == []
