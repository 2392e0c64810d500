"""What erased a record: asked by everything that would show it, replay it or prove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, select

from db.records import fields
from db.tables import erased, payload, record


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """One erasure as one record lived through it; `client_id` is empty where who erased was itself erased."""

    erasure: UUID  # the record that says so
    at_us: int
    client_id: str
    ground: str
    fields: tuple[str, ...]


class RecordErased(LookupError):
    """What was asked for is gone, lawfully and on record; `erasures` say when, by whom and on what ground."""

    def __init__(self, record_id: UUID, erasures: tuple[Erased, ...]) -> None:
        super().__init__(f"record {record_id} was erased")
        self.record_id, self.erasures = record_id, erasures


def erasures_of(connection: Connection, idx: int) -> tuple[Erased, ...]:
    """Say what erased anything of the record at this place, the first erasure first; nothing for a whole record."""
    query = (
        select(record.c.id, record.c.observed_at_us, record.c.client_id, erased.c.fields, payload.c.input)
        .join(record, record.c.idx == erased.c.erasure_idx)
        .join(payload, payload.c.record_id == record.c.id)
        .where(erased.c.idx == idx)
        .order_by(erased.c.erasure_idx)
    )
    return tuple(map(_erased, connection.execute(query)))


def _erased(row: Any) -> Erased:
    return Erased(
        erasure=row.id,
        at_us=row.observed_at_us,
        client_id=row.client_id,
        ground=orjson.loads(row.input)["args"]["ground"],
        fields=fields(row.fields),
    )
