"""The ledger in spans, and the answered requests in one, with the exact bytes that went in and came out.

Where a span ends once it is full follows from the ledger alone, and stays so whatever is erased: at most RECORDS
records, and about ROWS predictions, since one request may hold ten thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, select

from db.auditing_rows import ANSWERED
from db.columns import Answered, Reported, report
from db.records import Kind, mask
from db.tables import derived, erased, payload, prediction, record

# 4,096 is what an audit looks at in one go (db/auditing_pool.py); 8,192 rows are read in a tenth of a second.
RECORDS, ROWS = 2**12, 2**13
SHOWN = mask(("input", "output"))


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


def answered(connection: Connection, span: range, conditions: Sequence[Any] = ()) -> Iterator[Answered]:
    """Yield the answered requests of a span of which neither input nor output was erased."""
    c = record.c
    query = (
        select(c.idx, c.observed_at_us, c.model, c.version, payload.c.input, payload.c.output)
        .join(payload, payload.c.record_id == c.id)
        .where(c.idx >= span.start, c.idx < span.stop, c.kind == Kind.PREDICTION, c.status == ANSWERED)
        .where(~is_gone(c.idx), *conditions)
        .order_by(c.idx)
    )
    for row in connection.execute(query):
        yield Answered(**row._mapping)


def reported(connection: Connection, span: range, conditions: Sequence[Any] = ()) -> Iterator[Reported]:
    """Yield what records of a span say of what happened; of one that was erased, only whose it was."""
    c, of = record.c, derived.c
    query = (
        select(c.idx, c.observed_at_us, c.model, c.version, of.of_idx, of.position, payload.c.input)
        .join(derived, of.idx == c.idx)
        .outerjoin(payload, payload.c.record_id == c.id)
        .where(c.idx >= span.start, c.idx < span.stop, c.kind == Kind.OUTCOME, of.position.is_not(None))
        .where(*conditions)
        .order_by(c.idx)
    )
    for row in connection.execute(query):
        about = dict(row._mapping)
        yield report(about.pop("input"), **about)


def is_gone(idx: ColumnElement[int]) -> ColumnElement[bool]:
    """Say in SQL whether input or output of this record was erased."""
    return exists().where(erased.c.idx == idx, erased.c.fields.bitwise_and(SHOWN) != 0)
