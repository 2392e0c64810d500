"""Blocks: what was predicted and what happened, kept once more by columns, so that a million rows are read in a moment.

Derived data only. For each span of the ledger (db/spans.py) that is full there is a row of `block` for every column of
every (model, version), and one without a name that says: this span is made. They are made in the background and never
changed. An erasure deletes those of the spans it touches in its own transaction; they are made again from what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, exists, func, insert, select

from db import heads
from db import spans as cutting
from db.columns import MADE, Answered, Reported
from db.engine import moment
from db.spans import RECORDS
from db.tables import block, erased, head

Packed = Mapping[tuple[str, str, str], bytes]  # by model, version and name of the column
_IS_MADE = and_(block.c.model == "", block.c.name == "", block.c.version == "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmade:
    """A full span without blocks, and what they are to be made of; `lost` says how often something was erased of it."""

    span: range
    records: Sequence[Answered | Reported]
    lost: int


def spans(connection: Connection, within: range) -> list[range]:
    """List the spans of which something lies within, that are made."""
    c = block.c
    query = select(c.start, c.stop).where(_IS_MADE, c.start > within.start - RECORDS, c.start < within.stop)
    rows = connection.execute(query.order_by(c.start))
    return [range(start, stop) for start, stop in rows if stop > within.start]


def stored(
    connection: Connection,
    model: str,
    version: str | None,
    names: Sequence[str] | None,
    made: Sequence[range],
) -> list[Any]:
    """Read start, version, name and packed content of the columns of these spans, span by span."""
    c, starts = block.c, {span.start for span in made}
    query = select(c.start, c.version, c.name, c.content).where(c.model == model)
    query = query.where(c.start >= min(starts), c.start <= max(starts))
    if version is not None:
        query = query.where(c.version == version)
    if names is not None:
        query = query.where(c.name.in_(names))
    rows = [row for row in connection.execute(query) if row.start in starts]
    return sorted(rows, key=_place)


def weight(
    connection: Connection,
    model: str,
    version: str | None,
    names: Sequence[str] | None,
    made: Sequence[range],
) -> int:
    """Say how many bytes `stored` would read, without reading them."""
    c = block.c
    query = select(func.coalesce(func.sum(func.length(c.content)), 0)).where(c.model == model)
    query = query.where(c.start >= made[0].start, c.start <= made[-1].start)
    if version is not None:
        query = query.where(c.version == version)
    if names is not None:
        query = query.where(c.name.in_(names))
    return int(connection.scalars(query).one())


def _place(row: Any) -> tuple[int, str]:
    return row.start, row.version


def unmade(engine: Engine) -> Unmade | None:
    """Find the first full span that has no blocks, and read what they are to be made of.

    Raises:
        StorageUnavailable: the database failed.
    """
    with moment(engine) as connection:
        span = _first(connection)
        if span is None:
            return None
        records: list[Answered | Reported] = list(cutting.answered(connection, span))
        records += cutting.reported(connection, span)
        return Unmade(span=span, records=records, lost=_lost(connection, span))


def put(connection: Connection, of: Unmade, packed: Packed) -> bool:
    """Store the blocks of a span, in a transaction of the pen's; False where it was overtaken: look again.

    Whoever erases holds the lock on `head`: what was erased since the span was read is seen here.
    """
    heads.lock(connection)
    if _lost(connection, of.span) != of.lost or spans(connection, of.span):
        return False
    rows = {MADE: b""} | dict(packed)
    values = [
        {
            "model": key[0],
            "version": key[1],
            "name": key[2],
            "start": of.span.start,
            "stop": of.span.stop,
            "content": content,
        }
        for key, content in rows.items()
    ]
    connection.execute(insert(block), values)
    return True


def forget(connection: Connection, places: Iterable[int]) -> None:
    """Delete the blocks that hold anything of the records at these places."""
    c = block.c
    start, stop = 0, 0
    for idx in sorted(places):
        if start <= idx < stop:
            continue
        query = select(c.start, c.stop).where(_IS_MADE, c.start <= idx).order_by(c.start.desc()).limit(1)
        found = connection.execute(query).one_or_none()
        if found is not None and found.stop > idx:
            start, stop = found
            connection.execute(delete(block).where(c.start == start))


def _first(connection: Connection) -> range | None:
    """Find where the first unmade span begins: at the beginning, or where a made one ends and none goes on."""
    size = connection.scalars(select(head.c.size)).one()
    following = block.alias()
    goes_on = exists().where(
        following.c.model == "",
        following.c.name == "",
        following.c.version == "",
        following.c.start == block.c.stop,
    )
    begun = connection.scalar(select(block.c.stop).where(_IS_MADE, block.c.start == 0))
    start = 0
    if begun is not None:
        start = connection.scalars(select(func.min(block.c.stop)).where(_IS_MADE, ~goes_on)).one()
    after = connection.scalar(select(func.min(block.c.start)).where(_IS_MADE, block.c.start >= start))
    stop = min(cutting.end(connection, start), size + 1 if after is None else after)
    return range(start, stop) if stop <= size else None


def _lost(connection: Connection, span: range) -> int:
    idx = erased.c.idx
    query = select(func.count()).select_from(erased).where(idx >= span.start, idx < span.stop)
    return int(connection.scalars(query).one())
