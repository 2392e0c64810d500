"""What was predicted, by columns: the way from the ledger to metrics, drift and exports.

The ledger is read span by span, each of at most RECORDS records or about ROWS predictions, off the bytes that went
in and came out. What was erased is counted and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, exists, func, select

from db import columns, walks
from db.auditing_rows import ANSWERED
from db.columns import Answered
from db.engine import moment
from db.lookups import Filter
from db.records import Kind, mask
from db.tables import erased, head, payload, prediction, record

# 4,096 is what an audit looks at in one go (db/auditing_pool.py); 8,192 rows are read in a tenth of a second.
RECORDS, ROWS = 2**12, 2**13
_SHOWN = mask(("input", "output"))


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

    Chunks may hold predictions from beside the wanted times; the column `at` tells.
    """

    size: int
    chunks: list[Chunk] = field(default_factory=list)
    erased: int = 0


def read(engine: Engine, wanted: Wanted) -> Read:
    """Read the columns of these predictions, in the order of the ledger.

    Raises:
        StorageUnavailable: the database failed.
    """
    with moment(engine) as connection:
        size = connection.scalars(select(head.c.size)).one()
        within = _within(connection, wanted, size)
        chunks: list[Chunk] = []
        for span in cut(connection, within):
            chunks += _from_payloads(connection, wanted, span)
        return Read(size=size, chunks=chunks, erased=_count_erased(connection, wanted))


def _within(connection: Connection, wanted: Wanted, size: int) -> range:
    times = Filter(from_us=wanted.from_us, to_us=wanted.to_us)
    above, below = walks.span(connection, times, None)
    start = 0 if above is None else above + 1
    stop = size if below is None else min(size, below[0])
    return range(start, max(start, stop))


def cut(connection: Connection, hole: range) -> Iterator[range]:
    """Cut a stretch of the ledger into spans."""
    start = hole.start
    while start < hole.stop:
        stop = min(end(connection, start), hole.stop)
        yield range(start, stop)
        start = stop


def end(connection: Connection, start: int) -> int:
    """Say where the span that begins here ends, once it is full; the same whatever was erased of it."""
    boundary = (start // RECORDS + 1) * RECORDS
    c = prediction.c
    rows = select(c.idx).where(c.idx >= start, c.idx < boundary).order_by(c.idx, c.position)
    last = connection.scalar(rows.offset(ROWS - 1).limit(1))
    return boundary if last is None else int(last) + 1


def _from_payloads(connection: Connection, wanted: Wanted, span: range) -> Iterator[Chunk]:
    conditions = [record.c.model == wanted.model]
    if wanted.version is not None:
        conditions.append(record.c.version == wanted.version)
    for (_, version), found in columns.of(answered(connection, span, conditions)).items():
        kept = {name: each for name, each in found.items() if wanted.names is None or name in wanted.names}
        yield Chunk(start=span.start, version=version, columns=kept)


def answered(connection: Connection, span: range, conditions: Sequence[Any] = ()) -> Iterator[Answered]:
    """Yield the answered requests of a span of which neither input nor output was erased."""
    c = record.c
    query = (
        select(c.idx, c.observed_at_us, c.model, c.version, payload.c.input, payload.c.output)
        .join(payload, payload.c.record_id == c.id)
        .where(c.idx >= span.start, c.idx < span.stop, c.kind == Kind.PREDICTION, c.status == ANSWERED)
        .where(~_is_gone(c.idx), *conditions)
        .order_by(c.idx)
    )
    for row in connection.execute(query):
        yield Answered(**row._mapping)


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
    of = select(erased.c.idx).distinct().where(erased.c.fields.bitwise_and(_SHOWN) != 0)
    query = select(func.count()).select_from(prediction).where(c.idx.in_(of), *conditions)
    return int(connection.scalars(query).one())


def _is_gone(idx: ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(erased.c.idx == idx, erased.c.fields.bitwise_and(_SHOWN) != 0)
