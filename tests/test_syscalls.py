"""P1 at every system call: whichever call of a commit fails or is the last one, what was promised is on record.

The kernel's answers are changed with strace, one call after the other (Tessera tests its logs that way). In the suite
a few places of every call are tried, with `ONRECORD_SOAK` set all of them.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests import faults
from tests.conftest import must_have
from tests.families import GONE_WITHIN_S, wait_until
from tests.ledgers import fresh
from tests.writer import Gone, Writer, findings, writer

CALLS = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "openat", "unlink")
FAULTS = {
    "fails once": "error=EIO:when={}",
    "fails from then on": "error=ENOSPC:when={}+",
    "fails before the end": "error=EIO:when={}",
    "is the last": "signal=KILL:when={}",
}
PLACES = sys.maxsize if "ONRECORD_SOAK" in os.environ else 3
DEADLINE_S = 0.5  # how long a doubtful commit is looked for while the disk goes on failing
OPENING = (("open",), ("append", 3))
COMMIT = (("append", 3),)
NOTE = (("note",), ("close",))
ERASURE = (("erase",),)
MOMENTS: Mapping[str, tuple[Sequence[str], Sequence[Sequence[object]], Sequence[Sequence[object]]]] = {
    # mutations, what is done before the calls are watched, what is done while they are
    "opening": ((), (), OPENING),
    "commit": ((), OPENING, COMMIT),
    "commit and checkpoint": (("checkpoints-at-once",), OPENING, COMMIT),
    "note and close": ((), OPENING, NOTE),
    "erasure": ((), OPENING, ERASURE),
}


class Bench:
    """One ledger that everything happens to, and all that its writers said."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.file = Path(url.removeprefix("sqlite:///"))
        self.journals = self.file.parent / "journals"
        self.trace = self.file.parent / "trace.txt"

    def calls(self, moment: str, *mutations: str) -> collections.Counter[str]:
        """Count the calls of a moment when nothing fails."""
        with self.at(moment, *mutations) as (writing, steps), self.watched(writing.pid):
            assert [writing.ask(*step) for step in steps] == ["done"] * len(steps)
        return collections.Counter(re.findall(r"^(\w+)\(", self.trace.read_text(), re.MULTILINE))

    def strike(self, moment: str, call: str, how: str, place: int, *mutations: str) -> None:
        """Let one call go wrong; then the writer appends as if nothing had been, or ends with everybody who reads."""
        with self.at(moment, *mutations) as (writing, steps):
            is_alive = True
            with self.watched(writing.pid, f"{call}:{FAULTS[how].format(place)}"):
                try:
                    for step in steps:
                        writing.ask(*step)
                except Gone:
                    is_alive = False
            happened = "(INJECTED)" in self.trace.read_text() if is_alive else how == "is the last"
            assert happened, f"call {place} of {call} never came"
            if is_alive and how != "fails before the end":
                assert writing.ask("append", 2) == "done"
        with writer(self.url, self.journals) as another:
            assert another.ask("append", 1) == "done"

    @contextlib.contextmanager
    def at(self, moment: str, *mutations: str) -> Iterator[tuple[Writer, Sequence[Sequence[object]]]]:
        """Bring a writer to a moment; gives what it has to do next."""
        needed, before, steps = MOMENTS[moment]
        self.file.with_name("anchor.log").unlink(missing_ok=True)  # it comes to be with the first note
        with (
            writer(self.url, self.journals, *needed, *mutations, deadline_s=DEADLINE_S) as writing,
            contextlib.closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as reader,
        ):
            for step in before:
                assert writing.ask(*step) == "done"
            if moment.startswith(
                "commit"
            ):  # as doors do; what SQLite knows of its log then outlives a connection
                reader.execute("SELECT * FROM head").fetchall()
            yield writing, steps

    @contextlib.contextmanager
    def watched(self, pid: int, fault: str | None = None) -> Iterator[None]:
        """Watch, and perhaps change, the calls of a writer that touch the ledger's files, and no others."""
        names = [
            self.file.name,
            *(f"{self.file.name}{end}" for end in ("-wal", "-shm", ".pen")),
            "anchor.log",
        ]
        paths = [word for name in names for word in ("-P", str(self.file.with_name(name)))]
        inject = ["-e", f"inject={fault}"] if fault else []
        command = ["strace", "-e", f"trace={','.join(CALLS)}", *inject, *paths, "-P", str(self.file.parent)]
        with subprocess.Popen(
            [*command, "-o", str(self.trace), "-p", str(pid)], stderr=subprocess.DEVNULL
        ) as strace:
            wait_until(lambda: faults.is_traced_by(pid, strace.pid), GONE_WITHIN_S)
            yield
            strace.terminate()


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Make an empty ledger in a file."""
    if shutil.which("strace") is None:
        must_have("strace")
    return Bench(fresh("sqlite", request, tmp_path))


def places(count: int) -> list[int]:
    """Choose places among so many calls: the first, the last, and some between; all of them in a long campaign."""
    every = list(range(1, count + 1))
    return every if count <= PLACES else sorted({1, count, *random.sample(every, PLACES - 2)})


@pytest.mark.soak
@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_nothing_is_lost_whichever_call_fails(bench: Bench, moment: str, how: str) -> None:
    """C2, C7, C13: a call that fails once, for a while or is a process's last loses no promise, stops nobody."""
    counts = bench.calls(moment)
    chosen = {call: places(count) for call, count in counts.items()}
    for call, at in chosen.items():
        for place in at:
            bench.strike(moment, call, how, place)

            assert findings(bench.url, bench.journals) == [], f"call {place} of {call}"
    struck = ", ".join(f"{len(at)} of {counts[call]} {call}" for call, at in sorted(chosen.items()))
    sys.stdout.write(f"\n  {moment}, a call {how}: {struck}")


@pytest.mark.parametrize("moment", ["commit", "commit and checkpoint"])
def test_a_commit_is_watched_where_it_syncs(bench: Bench, moment: str) -> None:
    """C2: the calls that are made to fail are those of the commit: without synchronous=FULL, no sync is among them."""
    assert bench.calls(moment)["fdatasync"] >= 1
    assert bench.calls(moment, "syncs-nothing")["fdatasync"] == 0


def test_a_checkpoint_is_kept_when_its_line_and_its_file_are_synced(bench: Bench) -> None:
    """C2: the anchor's first line is written, then its file is synced, then the folder that names it."""
    bench.calls("note and close")

    calls = re.findall(r"^(write|fsync)\(", bench.trace.read_text(), re.MULTILINE)
    assert calls == ["write", "fsync", "fsync"]


def test_a_writer_that_promises_first_is_caught(bench: Bench) -> None:
    """C2, M1: the same campaign against a writer that promises before it commits finds what was lost."""
    bench.strike("commit", "pwrite64", "is the last", 1, "tells-first")

    assert "was answered" in str(findings(bench.url, bench.journals))


def test_a_writer_that_takes_doubt_for_failure_is_caught(bench: Bench) -> None:
    """C2, M9: a failed fsync does not undo a commit; whoever denies without looking is found out."""
    bench.strike("commit", "fdatasync", "fails before the end", 1, "denies")

    assert "denied and is on record" in str(findings(bench.url, bench.journals))
