"""Power cuts for SQLite: every state that a disk may be in when the current fails while a ledger is written.

What the writer asked of the kernel is taken from its system calls: writes, truncations, syncs, and what it promised
meanwhile, in one order. A disk has for certain what was synced; of everything since, it may have anything, in any order
and in torn sectors. `left` builds such a folder, to be opened with the SQLite that is used.
"""

from __future__ import annotations

import ast
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests import faults
from tests.families import GONE_WITHIN_S, wait_until

SECTOR = 512
_LONGEST = 1 << 17  # bytes of one write that strace shows
_CALL = re.compile(r"^(\w+)\(\d+<([^>]+)>(?:, (.*))?\)\s+= \d+$")
_FILES = ("ledger.db", "ledger.db-wal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing the writer did: wrote, cut or synced a file of the ledger, or said something."""

    kind: str  # write, cut, sync, say
    file: str = ""
    at: int = 0
    data: bytes = b""


Kept = Callable[[Event], Iterator[Event]]


@contextmanager
def recorded(pid: int, trace: Path) -> Iterator[None]:
    """Record what a writer asks of the kernel."""
    calls = "trace=pwrite64,write,fdatasync,fsync,ftruncate"
    command = ["strace", "-y", "-s", str(_LONGEST), "-e", calls, "-o", str(trace), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        wait_until(lambda: faults.is_traced_by(pid, strace.pid), GONE_WITHIN_S)
        yield
        strace.terminate()


def events(trace: str) -> Iterator[Event]:
    """Read what was recorded, in its order."""
    for line in trace.splitlines():
        if (match := _CALL.match(line)) is None:
            continue
        call, path, rest = match.groups()
        name = Path(path).name
        if name.endswith(".jsonl"):
            yield Event(kind="say", data=_text(rest.rpartition(", ")[0]))
        elif name not in _FILES:
            continue
        elif call == "pwrite64":
            text, _, at = rest.rsplit(", ", 2)
            yield Event(kind="write", file=name, at=int(at), data=_text(text))
        elif call == "ftruncate":
            yield Event(kind="cut", file=name, at=int(rest))
        else:
            yield Event(kind="sync", file=name)


def _text(quoted: str) -> bytes:
    text = ast.literal_eval(f"b{quoted}")
    assert isinstance(text, bytes)
    return text


def left(start: bytes, before: list[Event], kept: Kept, folder: Path) -> None:
    """Build what a power cut left of a ledger that began as `start`, and all that was said until then."""
    disk = {"ledger.db": bytearray(start)}
    waiting: list[Event] = []
    said = b""
    for event in before:
        if event.kind == "say":
            said += event.data
        elif event.kind == "sync":
            _apply(disk, [each for each in waiting if each.file == event.file])
            waiting = [each for each in waiting if each.file != event.file]
        else:
            waiting.append(event)
    _apply(disk, [piece for event in waiting for piece in kept(event)])
    (folder / "journals").mkdir(parents=True)
    for name, content in disk.items():
        (folder / name).write_bytes(content)
    (folder / "journals" / "0.jsonl").write_bytes(said)


def _apply(disk: dict[str, bytearray], done: list[Event]) -> None:
    for event in done:
        content = disk.setdefault(event.file, bytearray())
        if event.kind == "cut":
            del content[event.at :]
        content.extend(bytes(max(0, event.at - len(content))))
        content[event.at : event.at + len(event.data)] = event.data


def _nothing(event: Event) -> Iterator[Event]:
    yield from ()


def _everything(event: Event) -> Iterator[Event]:
    yield event


def _some(event: Event) -> Iterator[Event]:
    if random.random() < 0.5:
        yield event


def _torn(event: Event) -> Iterator[Event]:
    """Keep some sectors of a write: the disk's own, wherever the write began."""
    if event.kind == "cut":
        yield from _some(event)
        return
    end = event.at + len(event.data)
    edges = [event.at, *range((event.at // SECTOR + 1) * SECTOR, end, SECTOR), end]
    for start, stop in pairwise(edges):
        piece = event.data[start - event.at : stop - event.at]
        yield from _some(Event(kind="write", file=event.file, at=start, data=piece))


WAYS: dict[str, Kept] = {
    "nothing": _nothing,
    "everything": _everything,
    "some writes": _some,
    "torn sectors": _torn,
}
