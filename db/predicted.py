"""What was predicted, by columns: the way from the ledger to metrics, drift and exports.

Where there are blocks (db/blocks.py), they are read; the rest of the ledger, its end above all, span by span off the
bytes that went in and came out, by the same code that makes blocks. So what is read never depends on how far making
them came. What was erased is counted and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from sqlalchemy import Connection, Engine, func, select

from db import blocks, columns, spans, walks
from db.columns import OUTCOME
from db.engine import moment
from db.lookups import Filter
from db.spans import SHOWN
from db.tables import erased, head, prediction, record

# Some five million predictions with outcomes; what is made of them takes five times as much.
MOST_BYTES = 128_000_000
# A quarter of a million predictions, read from payloads in some seconds.
MOST_UNMADE = 32


class TooMuch(Exception):
    """So many predictions cannot be held at once; ask for a shorter time."""


class NotMadeYet(Exception):
    """So much of this has no blocks yet that reading it would take too long; they are being made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which predictions, and which columns of them (db/columns.py); None means all. Both times belong to it."""

    model: str
    version: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some predictions of one version, in the order of the ledger: the body of each column there is."""

    start: int
    version: str
    columns: dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was found in one moment: `size` records there were, `erased` predictions are gone from among those wanted.

    `outcomes` are the columns of reports about them, and maybe of others. Chunks may hold predictions from beside the
    wanted times; the column `at` tells.
    """

    size: int
    chunks: list[Chunk] = field(default_factory=list)
    outcomes: list[dict[str, bytes]] = field(default_factory=list)
    erased: int = 0


def read(engine: Engine, wanted: Wanted) -> Read:
    """Read the columns of these predictions, in the order of the ledger.

    Raises:
        TooMuch: they are more than MOST_BYTES.
        NotMadeYet: more than MOST_UNMADE spans of them have no blocks.
        StorageUnavailable: the database failed.
    """
    with moment(engine) as connection:
        size = connection.scalars(select(head.c.size)).one()
        within = _within(connection, wanted, size)
        outcomes = range(
            within.start, size if len(within) else within.start
        )  # they stand behind what they are about
        made = blocks.spans(connection, outcomes)
        found = list(_from_blocks(connection, wanted, within, made)) if made else []
        unmade = (span for hole in _holes(outcomes, made) for span in spans.cut(connection, hole))
        for count, span in enumerate(unmade):
            if count >= MOST_UNMADE:
                raise NotMadeYet(f"more than {MOST_UNMADE} spans have no blocks")
            found += _from_payloads(connection, wanted, within, span)
        found.sort(key=lambda each: (each.start, each.version))
        return Read(
            size=size,
            chunks=[each for each in found if "idx" in each.columns],
            outcomes=[each.columns for each in found if OUTCOME[0] in each.columns],
            erased=_count_erased(connection, wanted),
        )


def _within(connection: Connection, wanted: Wanted, size: int) -> range:
    times = Filter(from_us=wanted.from_us, to_us=wanted.to_us)
    above, below = walks.span(connection, times, None)
    start = 0 if above is None else above + 1
    stop = size if below is None else min(size, below[0])
    return range(start, max(start, stop))


def _holes(within: range, made: Sequence[range]) -> Iterator[range]:
    at = within.start
    for span in made:
        if at < span.start:
            yield range(at, span.start)
        at = max(at, span.stop)
    if at < within.stop:
        yield range(at, within.stop)


def _from_blocks(
    connection: Connection, wanted: Wanted, within: range, made: Sequence[range]
) -> Iterator[Chunk]:
    of = (wanted.model, wanted.version)
    asked: list[tuple[tuple[str, ...] | None, Sequence[range]]] = [(OUTCOME, made)]
    if shown := [span for span in made if span.start < within.stop]:
        asked.append((wanted.names, shown))
    if sum(blocks.weight(connection, *of, names, of_spans) for names, of_spans in asked) > MOST_BYTES:
        raise TooMuch(f"more than {MOST_BYTES} bytes of columns")
    for names, of_spans in asked:
        rows = blocks.stored(connection, *of, names, of_spans)
        for (start, version), found in groupby(rows, lambda row: (row.start, row.version)):
            unpacked = {row.name: columns.unpack(row.content) for row in found}
            yield Chunk(start=start, version=version, columns=unpacked)


def _from_payloads(connection: Connection, wanted: Wanted, within: range, span: range) -> Iterator[Chunk]:
    conditions = [record.c.model == wanted.model]
    if wanted.version is not None:
        conditions.append(record.c.version == wanted.version)
    of: list[columns.Answered | columns.Reported] = list(spans.reported(connection, span, conditions))
    if span.start < within.stop:
        of += spans.answered(connection, span, conditions)
    for (_, version), found in columns.of(of).items():
        names = None if wanted.names is None else {*wanted.names, *OUTCOME}
        kept = {name: each for name, each in found.items() if names is None or name in names}
        yield Chunk(start=span.start, version=version, columns=kept)


def _count_erased(connection: Connection, wanted: Wanted) -> int:
    """Count the predictions that were erased, of those that would be shown otherwise."""
    c = prediction.c
    conditions = [c.model == wanted.model]
    if wanted.version is not None:
        conditions.append(c.version == wanted.version)
    if wanted.from_us is not None:
        conditions.append(c.observed_at_us >= wanted.from_us)
    if wanted.to_us is not None:
        conditions.append(c.observed_at_us <= wanted.to_us)
    of = select(erased.c.idx).distinct().where(erased.c.fields.bitwise_and(SHOWN) != 0)
    query = select(func.count()).select_from(prediction).where(c.idx.in_(of), *conditions)
    return int(connection.scalars(query).one())
