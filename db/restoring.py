"""What a journal outside the database knows of erasures, held against a database that may have been restored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, func, select

from db.engine import reading
from db.records import EVERYTHING
from db.tables import erased, payload, record

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Journaled:
    """One erasure as it is kept outside: no personal data, only which records lost which fields (bits)."""

    erasure: UUID
    ground: str
    fields: Mapping[UUID, int]


def erasures(engine: Engine, known: Collection[UUID], after: int) -> Iterator[tuple[int, Journaled]]:
    """Walk the erasures behind a place of the ledger, but for those that are known."""
    c = erased.c
    with reading(engine) as connection:
        places = connection.scalars(select(c.erasure_idx).where(c.erasure_idx > after).distinct()).all()
        for place in sorted(places):
            id_ = connection.scalar(select(record.c.id).where(record.c.idx == place))
            if id_ is not None and id_ not in known:
                yield place, _journaled(connection, place, id_)


def _journaled(connection: Connection, place: int, id_: UUID) -> Journaled:
    said = connection.scalars(select(payload.c.input).where(payload.c.record_id == id_)).one()
    rows = connection.execute(
        select(record.c.id, erased.c.fields)
        .join(record, record.c.idx == erased.c.idx)
        .where(erased.c.erasure_idx == place)
    )
    ground = orjson.loads(said)["args"]["ground"]
    return Journaled(erasure=id_, ground=ground, fields={row.id: row.fields for row in rows})


def undone(engine: Engine, journaled: Journaled) -> list[tuple[int, list[UUID]]]:
    """Return, for each set of fields, the records that still have some of what this erasure took from them."""
    c = record.c
    gone = select(func.coalesce(func.sum(erased.c.fields), 0)).where(erased.c.idx == c.idx).scalar_subquery()
    left: list[tuple[int, UUID]] = []
    ids = list(journaled.fields)
    with reading(engine) as connection:
        for start in range(0, len(ids), _PAGE):
            of = select(c.id, gone.label("gone")).where(c.id.in_(ids[start : start + _PAGE]))
            left += [
                (journaled.fields[row.id], row.id)
                for row in connection.execute(of)
                if journaled.fields[row.id] & EVERYTHING & ~int(row.gone)
            ]
    return [(bits, [id_ for _, id_ in group]) for bits, group in groupby(sorted(left), lambda pair: pair[0])]
