"""Verifications that are on record, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, literal_column, select

from db.engine import reading
from db.records import Kind
from db.tables import payload, record

# Written out: neither database uses the index of these records for a number that it is given only later.
_OURS = record.c.kind == literal_column(str(int(Kind.VERIFICATION)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One record of a verification; `output` is what was found, as callers are shown it."""

    record: UUID
    output: bytes


def newest(engine: Engine, limit: int, before: int | None = None) -> list[Verified]:
    """Return at most `limit`, the last recorded first, starting below the place `before`; what was erased is not there.

    Raises:
        StorageUnavailable: the database failed.
    """
    c = record.c
    conditions = [_OURS] if before is None else [_OURS, c.idx < before]
    query = (
        select(c.id, payload.c.output)
        .join(payload, payload.c.record_id == c.id)
        .where(*conditions, payload.c.output != b"")
        .order_by(c.idx.desc())
        .limit(limit)
    )
    with reading(engine) as connection:
        return [Verified(record=row.id, output=row.output) for row in connection.execute(query)]
