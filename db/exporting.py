"""Recorded predictions for an export: span by span in the order of the ledger, with what is known to have happened.

Of a prediction whose input or output was erased nothing is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, Engine, select

from db import spans
from db.auditing_rows import ANSWERED
from db.engine import moment, reading
from db.records import Kind
from db.tables import head, outcome, payload, record


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What was reported for one prediction: a label, or a number; neither where the report was erased."""

    value: str | None
    number: float | None
    observed_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One answered request with the exact bytes of both sides, and the outcomes there are, by position."""

    idx: int
    id: UUID
    observed_at_us: int
    client_id: str
    model: str
    version: str
    input: bytes
    output: bytes
    outcomes: Mapping[int, Happened]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the ledger, and what was asked for of it."""

    places: range
    records: Sequence[Exported]


def size(engine: Engine) -> int:
    """Count the records of the ledger."""
    with reading(engine) as connection:
        return int(connection.scalars(select(head.c.size)).one())


def walk(
    engine: Engine, up_to: int, models: Sequence[str], from_us: int | None, to_us: int | None
) -> Iterator[Span]:
    """Walk the first `up_to` records, each span in a short read of its own; `to_us` is the first time left out.

    Raises:
        StorageUnavailable: the database failed.
    """
    start = 0
    while start < up_to:
        with moment(engine) as connection:
            span = range(start, min(spans.end(connection, start), up_to))
            found = list(_exported(connection, span, models, (from_us, to_us)))
        yield Span(places=span, records=found)
        start = span.stop


def _exported(
    connection: Connection, span: range, models: Sequence[str], times: tuple[int | None, int | None]
) -> Iterator[Exported]:
    c, (from_us, to_us) = record.c, times
    columns = (c.idx, c.id, c.observed_at_us, c.client_id, c.model, c.version)
    query = (
        select(*columns, payload.c.input, payload.c.output)
        .join(payload, payload.c.record_id == c.id)
        .where(c.idx >= span.start, c.idx < span.stop, c.kind == Kind.PREDICTION, c.status == ANSWERED)
        .where(c.model.in_(models), ~spans.is_gone(c.idx))
        .order_by(c.idx)
    )
    if from_us is not None:
        query = query.where(c.observed_at_us >= from_us)
    if to_us is not None:
        query = query.where(c.observed_at_us < to_us)
    happened = _happened(connection, span)
    for row in connection.execute(query):
        yield Exported(**row._mapping, outcomes=happened.get(row.idx, {}))


def _happened(connection: Connection, span: range) -> dict[int, dict[int, Happened]]:
    c = outcome.c
    query = select(outcome).where(c.prediction_idx >= span.start, c.prediction_idx < span.stop)
    found: dict[int, dict[int, Happened]] = {}
    for row in connection.execute(query):
        its = Happened(value=row.value, number=row.number, observed_at_us=row.observed_at_us)
        found.setdefault(row.prediction_idx, {})[row.position] = its
    return found
