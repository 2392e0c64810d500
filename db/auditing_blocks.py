"""Blocks held against the payloads they were made of: each is made again, column by column, while the walk goes by.

Which spans have blocks is no finding: they are made in the background, and erasures delete them. But where there are
some they have to say what the payloads say, for whoever reads them does not look at payloads any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, text

from db import auditing_derived, auditing_erasures, auditing_reads
from db.auditing_reads import Row
from db.auditing_rows import ANSWERED
from db.columns import MADE, Answered, Reported, of, report, unpack
from db.records import Kind

_KIND, _STATUS, _AT, _MODEL, _VERSION, _INPUT, _OUTPUT = (
    Row._fields.index(name)
    for name in ("kind", "status", "observed_at_us", "model", "version", "input", "output")
)
_ROWS = text(
    "SELECT start, stop, model, version, name, content FROM block WHERE start >= :start AND start < :stop"
    " ORDER BY start"
)
_STRAYS = text("SELECT count(*) FROM block WHERE NOT (start >= 0 AND start < :size)")
_OVERLAPS = text(
    "SELECT count(*) FROM block WHERE model = '' AND name = '' AND start > :start AND start < :stop"
)
_ACROSS = text(
    "SELECT start, stop FROM block WHERE model = '' AND name = '' AND start < :size AND stop > :size"
)
_SHOWN = {"input", "output"}
_STRANGE = (ValueError, TypeError, KeyError, AttributeError, IndexError, LookupError)
_Stored = Sequence[Any]


class Blocks:
    """The blocks of one range of records, made again as its records go by; `suspects` are where one differs."""

    def __init__(self, connection: Connection, within: range) -> None:
        self.suspects: list[tuple[int, int]] = []
        self._stop = within.stop
        self._spans = _spans(connection, within)
        self._next = next(self._spans, None)
        self._records: list[Answered | Reported] = []

    def meet(self, row: tuple[Any, ...], lost: Sequence[Any], origin: Any) -> None:
        """Take in one record, in the order of the ledger, what it has lost, and what it was made from."""
        idx = row[0]
        while self._next is not None and self._next[1] <= idx:
            self._finish()
        if (
            self._next is not None
            and self._next[0] <= idx
            and (given := _shown(row, lost, origin)) is not None
        ):
            self._records.append(given)

    def end(self) -> None:
        """Look at what is left once the last record has gone by."""
        while self._next is not None:
            self._finish()

    def _finish(self) -> None:
        assert self._next is not None
        start, stop, stored = self._next
        self._next = next(self._spans, None)
        overlaps = self._next is not None and self._next[0] < stop
        if stop > self._stop or overlaps or any(_differences(stored, stop, self._records)):
            self.suspects.append((start, stop))
        self._records = []


def wrong(connection: Connection, start: int, size: int) -> Iterator[str]:
    """Say what is wrong with the blocks that begin here, in this moment of the database, the ledger having `size`."""
    with auditing_reads.driving(connection):
        for _, stop, stored in _spans(connection, range(start, start + 1)):
            if not start < stop <= size:
                yield f"its columns are said to end at {stop}, the ledger at {size}"
                continue
            if connection.scalars(_OVERLAPS, {"start": start, "stop": stop}).one():
                yield f"its columns overlap with others before {stop}"
            gone = auditing_erasures.of_range(connection, start, stop)
            made = auditing_derived.of_range(connection, start, stop)
            rows = list(auditing_reads.records(connection, start, stop))
            given = (_shown(row, gone.get(row[0], ()), made.get(row[0])) for row in rows)
            yield from _differences(stored, stop, [each for each in given if each is not None])


def across(connection: Connection, size: int) -> list[tuple[int, int]]:
    """Say where blocks begin before this place, and end behind it."""
    return [(start, stop) for start, stop in connection.execute(_ACROSS, {"size": size})]


def strays(connection: Connection, size: int) -> Iterator[str]:
    """Look for blocks of no record of the ledger."""
    if count := connection.scalars(_STRAYS, {"size": size}).one():
        yield f"{count} columns belong to no record"


def _spans(connection: Connection, within: range) -> Iterator[tuple[int, int, _Stored]]:
    """Read what is stored of each span; one that no row calls made ends where it begins."""
    rows = connection.execute(_ROWS, {"start": within.start, "stop": within.stop}).all()
    for start, found in groupby(rows, lambda row: row.start):
        stored = list(found)
        stops = [row.stop for row in stored if _key(row) == MADE and isinstance(row.stop, int)]
        yield start, max(stops, default=start), stored


def _key(row: Any) -> tuple[Any, Any, Any]:
    return row.model, row.version, row.name


def _shown(row: tuple[Any, ...], lost: Sequence[Any], origin: Any) -> Answered | Reported | None:
    """Read what a record adds to the columns, if anything."""
    about = {
        "idx": row[0],
        "observed_at_us": row[_AT],
        "model": row[_MODEL],
        "version": row[_VERSION],
    }
    gone = set(auditing_erasures.union(lost))
    if row[_KIND] == Kind.OUTCOME and origin is not None and origin.position is not None:
        content = None if "input" in gone else row[_INPUT]
        return report(content, **about, of_idx=origin.of_idx, position=origin.position)
    is_shown = row[_KIND] == Kind.PREDICTION and row[_STATUS] == ANSWERED and row[_OUTPUT] is not None
    return (
        Answered(**about, input=row[_INPUT], output=row[_OUTPUT]) if is_shown and not gone & _SHOWN else None
    )


def _differences(stored: _Stored, stop: int, records: Sequence[Answered | Reported]) -> Iterator[str]:
    """Compare what is stored of one span with what its payloads make."""
    try:
        columns = of(records).items()
    except _STRANGE as strange:
        yield f"its columns cannot be made again ({type(strange).__name__})"
        return
    expected = {(*key, name): body for key, bodies in columns for name, body in bodies.items()}
    found = {_key(row): row for row in stored}
    if MADE not in found or len(found) != len(stored):
        yield "its columns are doubled, or nothing says that they are made"
    for key in sorted(expected.keys() | found.keys(), key=str):
        name = " ".join(map(str, key)).strip() or "its columns"
        if key not in found:
            yield f"{name}: the column is missing"
        elif key not in expected and key != MADE:
            yield f"{name}: no such column is in the payloads"
        elif found[key].stop != stop:
            yield f"{name}: is said to end at {found[key].stop}, its span ends at {stop}"
        elif _content(found[key], is_made=key == MADE) != expected.get(key, b""):
            yield f"{name}: is not what the payloads say"


def _content(row: Any, *, is_made: bool) -> bytes | None:
    """Unpack what is stored; None where it cannot be."""
    try:
        return bytes(row.content) if is_made else unpack(bytes(row.content))
    except _STRANGE:
        return None
