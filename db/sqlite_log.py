"""SQLite's write-ahead log, copied into the database file beside the commits instead of in them.

A commit adds pages to the log; some time they must be copied, for only a log that was copied whole begins anew. That
takes tens of milliseconds, so it is not left to a COMMIT: a thread with a connection of its own copies the bulk. While
others commit it never gets to the end: the pen copies the small rest, between two groups.

Connections that write and copy at once can corrupt a database under SQLite before 3.51.3: where the log begins anew
while a copy starts, the new log is taken for the old one. A log that somebody reads cannot begin anew, so a third
connection reads it, from before each copy until after it.
Source: sqlite.org/wal.html#walresetbug; sqlite.org/fileformat2.html, "WAL File Format".
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

LONG = 8000  # pages, 32 MB: hot pages are copied once per 8000, not per 1000
SHORT = 256  # pages that the pen copies itself: a millisecond, and the disk's
# Pages after which a COMMIT copies after all: the log stays bounded where nobody tends it.
LAST_RESORT = 4 * LONG
PASSES = 4  # a disk that copies slower than others commit never gets to a short rest
PAUSE_S = 1.0  # before it is tried again while a reader keeps the log from beginning anew
_COPY = "PRAGMA wal_checkpoint(PASSIVE)"  # waits for nobody: leaves what a reader still needs


class NotCopied(Exception):
    """The log could not be copied beside the commits; it is tried again in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copied:
    """What came of a copy: how many pages the log had, and how many of them are in the file now."""

    pages: int
    copied: int


class Log:
    """The log of one file, tended by the thread that holds the pen; nothing is opened before the log is long."""

    def __init__(self, file: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        """Take what opens a connection that may copy."""
        self._file, self._connect = file, connect
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._opened: list[sqlite3.Connection] = []
        self._log: int | None = None  # the descriptor of the log
        self._passing: Future[_Copied] | None = None
        self._begin(b"")

    def _begin(self, generation: bytes) -> None:
        self._generation = (
            generation  # the number in the log's header: another one for each time it begins anew
        )
        self._copied = self._passes = 0
        self._not_before = float("-inf")
        self._is_pinned = False

    def tend(self, pen: sqlite3.Connection) -> None:
        """Do the next thing that a long log needs; normally that is nothing. The pen has no transaction open.

        Raises:
            NotCopied: the copy beside the commits failed.
            sqlite3.Error: the pen's own did.
        """
        if self._is_passing(pen):
            return
        generation = self._reaching(LONG)
        if generation is None:
            return
        if generation != self._generation:
            if self._is_pinned:
                _bound(pen, LAST_RESORT)
            self._begin(generation)
        if time.monotonic() < self._not_before:
            return
        if self._passes < PASSES and self._reaching(self._copied + SHORT) is not None:
            self._passes += 1
            self._passing = self._beside.submit(self._pass)
        else:
            self._not_before = time.monotonic() + PAUSE_S
            self._learn(pen, _copy(pen))

    def rest(self) -> None:
        """Wait until nothing is being copied: only one can copy at a time."""
        if self._passing is not None:
            self._passing.exception()

    def close(self) -> None:
        """Let go of the file, before the pen does."""
        self._beside.shutdown()
        self._close()
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def _close(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def _is_passing(self, pen: sqlite3.Connection) -> bool:
        if self._passing is None:
            return False
        if not self._passing.done():
            return True
        passed, self._passing = self._passing, None
        try:
            self._learn(pen, passed.result())
        except (sqlite3.Error, OSError) as error:
            self._not_before = time.monotonic() + PAUSE_S
            raise NotCopied(str(error)) from error
        return False

    def _learn(self, pen: sqlite3.Connection, found: _Copied) -> None:
        """Let a reader be that is in the way: when it is gone, no COMMIT shall have to copy all that came meanwhile."""
        if found.copied < found.pages and found.copied <= self._copied:
            self._is_pinned, self._passes = True, 0
            self._not_before = time.monotonic() + PAUSE_S
            _bound(pen, found.pages + LAST_RESORT)
        self._copied = found.copied

    def _pass(self) -> _Copied:
        """Copy what is there; runs beside the commits."""
        try:
            if not self._opened:
                self._opened += [self._connect(), self._connect()]
            copier, reader = self._opened
            reader.execute("BEGIN")
            try:
                reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # holds the log from here on
                found = _copy(copier)
            finally:
                reader.execute("ROLLBACK")
        except sqlite3.Error:
            self._close()
            raise
        self._sync()
        return found

    def _sync(self) -> None:
        """Have the disk write what was copied, or the pen waits for that at the end.

        Only an open descriptor will do: to close one more of this file lets go of all locks that SQLite has on it.
        """
        wanted = self._file.stat()
        for path in Path("/dev/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile: the next one, or the pen, will do
                if os.path.samestat(os.fstat(int(path.name)), wanted):
                    os.fsync(int(path.name))
                    return

    def _reaching(self, pages: int) -> bytes | None:
        """Return the generation of the log if it has so many pages; those of older ones have another salt."""
        if self._log is None:
            try:
                self._log = os.open(f"{self._file}-wal", os.O_RDONLY)
            except FileNotFoundError:
                return None
        header = os.pread(self._log, 32, 0)
        size = int.from_bytes(header[8:12])
        last = os.pread(self._log, 24, 32 + (pages - 1) * (24 + size))
        return header[12:24] if len(last) == 24 and last[8:16] == header[16:24] else None


def _copy(connection: sqlite3.Connection) -> _Copied:
    _, pages, copied = connection.execute(_COPY).fetchone()
    return _Copied(pages=pages, copied=copied)


def _bound(pen: sqlite3.Connection, pages: int) -> None:
    pen.execute(f"PRAGMA wal_autocheckpoint = {pages}")
