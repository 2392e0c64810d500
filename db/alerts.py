"""What is on record of alerts: the last of each says whether it fires."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, func, select

from db.engine import reading
from db.records import Kind
from db.tables import payload, record

# How far back an engine looks when it starts, so that a long ledger is not read through for it. An alert that fired
# before, and still does, fires once more.
LOOK_BACK = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One record of an alert: its place, and what it says."""

    idx: int
    record: UUID
    output: bytes


def since(engine: Engine, idx: int) -> list[Told]:
    """List the records of alerts behind a place, in their order.

    Raises:
        StorageUnavailable: the database failed.
    """
    c = record.c
    with reading(engine) as connection:
        last = connection.scalar(select(func.max(c.idx))) or 0
        query = (
            select(c.idx, c.id, payload.c.output)
            .join(payload, payload.c.record_id == c.id)
            .where(c.idx > max(idx, last - LOOK_BACK), c.kind == Kind.ALERT)
            .order_by(c.idx)
        )
        return [Told(idx=row.idx, record=row.id, output=row.output) for row in connection.execute(query)]
