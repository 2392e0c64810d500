"""One range of records, looked at by itself: in the process that audits, or in another one beside it.

What is asked of a record needs no other record, so ranges can be looked at in any order and at the same time. What does
need others goes back with the answer: the hashes of the leaves, for the tree; the changes, for the state.

Nothing is judged here. A record that is not as it must be is a suspect: whoever asked looks at it again, in the one
moment of the database that the verdict is about, for another process may have read a later one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sqlalchemy import Connection

from db import auditing_derived, auditing_erasures, auditing_reads
from db.auditing import Cause, Tally
from db.auditing_blocks import Blocks
from db.auditing_quick import Quick
from db.auditing_reads import Lookup, Moment, Row
from db.auditing_rows import Wrong, check, raw
from db.auditing_state import TOLD
from db.tree import leaf_hash

_KIND, _OBSERVED_AT_US, _LEAF, _RECORD_ID = (
    Row._fields.index(name) for name in ("kind", "observed_at_us", "leaf", "record_id")
)
_Stored = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was seen of the records from `start` up to `stop`."""

    start: int
    stop: int
    hashes: bytes  # of the leaves, up to the first that is missing or doubled
    breaks: tuple[tuple[int, str], ...]  # where the order is broken, and how
    orphans: tuple[int, ...]  # records that only rows of lookups name
    suspects: tuple[int, ...]
    later: frozenset[
        int
    ]  # suspects that lost something after the moment of the audit: what they have is not counted
    told: tuple[Row, ...]  # the records that changed clients, versions, aliases or holds
    tally: Tally
    blocks: tuple[tuple[int, int], ...] = ()  # where columns begin and end that differ from the payloads


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What a second look at one record says: what is wrong with it, and what it has besides itself."""

    wrong: tuple[Wrong, ...]
    rows: tuple[Row, ...]
    tally: Tally


def examine(moment: Moment, within: range, size: int, quick: Quick) -> Examined:
    """Look at every record of a range, and at everything that hangs on it; the ledger has `size` records.

    Raises:
        StorageUnavailable: they cannot be read.
    """
    seen, connection = _Seen(expected=within.start), moment.connection
    with auditing_reads.driving(connection):
        gone = auditing_erasures.of_range(connection, within.start, within.stop)
        made = auditing_derived.of_range(connection, within.start, within.stop)
        lookups = _Lookups(auditing_reads.lookups(connection, within.start, within.stop))
        blocks = Blocks(connection, within)
        for row in auditing_reads.records(moment.records, within.start, within.stop):
            idx = row[0]
            mine, lost, origin = lookups.of(idx), gone.get(idx, ()), made.get(idx)
            seen.meet(row)
            blocks.meet(row, lost, origin)
            if any(each.erasure_idx >= size for each in lost):
                seen.later.append(idx)
                continue
            seen.count(row, mine, lost, origin)
            is_plain = not lost and origin is None and quick.is_sound(row, mine)
            if not is_plain and any(_precisely(connection, row, mine, lost, origin)):
                seen.suspects.append(idx)
        lookups.of(within.stop)
        blocks.end()
    seen.reach(within.stop)
    return replace(seen.examined(within, lookups.orphans), blocks=tuple(blocks.suspects))


def examine_again(connection: Connection, idx: int) -> Again:
    """Look at one record in this moment of the database; nothing is wrong, if another moment was to blame.

    Raises:
        StorageUnavailable: it cannot be read.
    """
    seen = _Seen(expected=idx)
    wrong: list[Wrong] = []
    with auditing_reads.driving(connection):
        lost = auditing_erasures.of_range(connection, idx, idx + 1).get(idx, ())
        origin = auditing_derived.of_range(connection, idx, idx + 1).get(idx)
        mine = list(auditing_reads.lookups(connection, idx, idx + 1))
        rows = list(auditing_reads.records(connection, idx, idx + 1))
        for row in rows:
            seen.count(row, mine, lost, origin)
            wrong += _precisely(connection, row, mine, lost, origin)
    return Again(wrong=tuple(wrong), rows=tuple(Row(*row) for row in rows), tally=seen.tally())


def _precisely(
    connection: Connection, row: tuple[Any, ...], lookups: _Stored, lost: Sequence[Any], origin: Any
) -> Iterator[Wrong]:
    named = Row(*row)
    try:
        erased = auditing_erasures.union(lost)
        yield from check(named, [Lookup(*each) for each in lookups], erased)
        yield from auditing_derived.differences(named, origin, erased)
        yield from auditing_erasures.claims(lost)
        yield from auditing_erasures.promised(connection, named)
    except (TypeError, ValueError) as strange:
        yield Cause.ERASURE, f"what is said to be erased cannot be read ({type(strange).__name__})"


class _Lookups:
    """Rows of lookups in the order of their records, handed out record by record."""

    def __init__(self, found: Iterator[tuple[Any, ...]]) -> None:
        self.orphans: list[int] = []
        self._found = found
        self._next = next(found, None)

    def of(self, idx: int) -> list[tuple[Any, ...]]:
        """Return those of this record; all before it belong to none."""
        mine: list[tuple[Any, ...]] = []
        while self._next is not None and self._next[0] <= idx:
            if self._next[0] == idx:
                mine.append(self._next)
            elif self.orphans[-1:] != [self._next[0]]:
                self.orphans.append(self._next[0])
            self._next = next(self._found, None)
        return mine


@dataclass(slots=True)
class _Seen:
    """What piles up while the records of a range go by."""

    expected: int
    hashes: list[bytes] = field(default_factory=list)
    breaks: list[tuple[int, str]] = field(default_factory=list)
    suspects: list[int] = field(default_factory=list)
    later: list[int] = field(default_factory=list)
    told: list[Row] = field(default_factory=list)
    records: int = 0
    payloads: int = 0
    predictions: int = 0
    erased: int = 0
    erasures: int = 0
    derived: int = 0
    outcomes: int = 0
    latest_us: int = 0
    earliest_us: int = 2**63 - 1
    lag_us: int = 0

    def meet(self, row: tuple[Any, ...]) -> None:
        """Take in one record itself, which never changes."""
        if row[0] != self.expected:
            self.reach(row[0])
            if row[0] < self.expected:
                self.breaks.append((row[0], f"place {row[0]} is taken twice"))
        self.expected = row[0] + 1
        if not self.breaks:
            self.hashes.append(leaf_hash(raw(row[_LEAF])))
        self.records += 1
        if row[_KIND] in TOLD:
            self.told.append(Row(*row))
        if isinstance(at_us := row[_OBSERVED_AT_US], int):  # if it is not, this is a suspect anyway
            if at_us > self.latest_us:
                self.latest_us = at_us
            elif self.latest_us - at_us > self.lag_us:
                self.lag_us = self.latest_us - at_us
            self.earliest_us = min(self.earliest_us, at_us)

    def count(self, row: tuple[Any, ...], lookups: _Stored, lost: Sequence[Any], origin: Any) -> None:
        """Count what the record has besides itself, which an erasure can take."""
        self.payloads += row[_RECORD_ID] is not None
        self.predictions += len(lookups)
        self.erased += bool(lost)
        self.erasures += len(lost)
        self.derived += origin is not None
        self.outcomes += origin is not None and bool(origin.is_first)

    def reach(self, idx: int) -> None:
        """Note what is missing before this place."""
        if self.expected < idx:
            self.breaks.append((self.expected, f"records {self.expected} to {idx - 1} are missing"))
            self.expected = idx

    def examined(self, within: range, orphans: Sequence[int]) -> Examined:
        """Put it together."""
        return Examined(
            start=within.start,
            stop=within.stop,
            hashes=b"".join(self.hashes),
            breaks=tuple(self.breaks),
            orphans=tuple(orphans),
            suspects=(*self.suspects, *self.later),
            later=frozenset(self.later),
            told=tuple(self.told),
            tally=self.tally(),
        )

    def tally(self) -> Tally:
        """Sum it up."""
        return Tally(**{each.name: getattr(self, each.name) for each in fields(Tally)})
