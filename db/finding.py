"""Which records an erasure is about: one of them, or those of a reference, of a client, or before a time.

Found in short reads and in the order of the ledger; a search through very many records ends early and says where to go
on, so that nobody waits for it with a connection in the hand. What was made from a record goes before it or with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, literal, select

from db.derivations import CONTENT
from db.engine import is_storable
from db.lookups import RecordNotFound
from db.records import Kind
from db.tables import derived, erased, head, prediction, record

_CONTENT = (Kind.PREDICTION, Kind.REPLAY, Kind.OUTCOME)  # kinds of which everything can be erased
_WINDOW = 20_000  # records one statement looks through
_MOST = 40 * _WINDOW  # and one search


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to erase: one of record_id(s), reference, client_id and before_us; a reference may be narrowed down.

    `fields` are bits; `after` is the place up to which somebody has looked already.
    """

    fields: int
    record_id: UUID | None = None
    record_ids: tuple[UUID, ...] = ()
    reference: str | None = None
    client_id: str | None = None
    model: str | None = None
    before_us: int | None = None
    after: int = -1


def candidates(connection: Connection, wanted: Wanted, limit: int) -> tuple[list[int], int | None]:
    """Return at most `limit` places, and behind which one to go on; None where there is no more.

    Raises:
        RecordNotFound: there is no such record.
    """
    if wanted.record_id is not None:
        idx = connection.scalar(select(record.c.idx).where(record.c.id == wanted.record_id))
        if idx is None:
            raise RecordNotFound(str(wanted.record_id))
        return [idx], None
    if wanted.record_ids:
        found = select(record.c.idx).where(record.c.id.in_(wanted.record_ids)).order_by(record.c.idx)
        return list(connection.scalars(found)), None
    texts = (wanted.reference, wanted.client_id, wanted.model)
    if not all(each is None or is_storable(each) for each in texts):
        return [], None
    if wanted.reference is not None:
        return _with_reference(connection, wanted, limit)
    return _walked(connection, wanted, limit)


def along(fields: int) -> int:
    """Say what of a derived record goes, where these fields of its original do.

    It repeats what the original said in its own request or answer, so both go where either of the original's does.
    """
    return fields | CONTENT if fields & CONTENT else 0


def with_derived(
    connection: Connection, places: list[int], following: int | None, fields: int, limit: int
) -> tuple[dict[int, int], int | None]:
    """Add what was made from the records at these places; return what is asked of each, and where to go on.

    At most `limit` records: an original comes only where all that was made from it does, so that the next search, which
    passes over what is erased, finds it again.
    """
    theirs = _made_from(connection, places, along(fields), limit + 1)
    asked: dict[int, int] = {}
    for place in places:
        made = theirs.get(place, [])
        room = limit - len(asked)
        if asked and room < len(made) + 1:
            return asked, place - 1
        if room < len(made) + 1:
            return dict.fromkeys(made[:room], along(fields)), place - 1
        for idx, bits in ((place, fields), *((each, along(fields)) for each in made)):
            asked[idx] = asked.get(idx, 0) | bits
    return asked, following


def _made_from(connection: Connection, places: list[int], fields: int, limit: int) -> dict[int, list[int]]:
    """List for each place what was made from it and is not wholly erased: all of it, or up to the limit."""
    found: dict[int, list[int]] = {}
    if fields:
        c = derived.c
        made = select(c.of_idx, c.idx).where(c.of_idx.in_(places), _is_left(c.idx, fields))
        for of, idx in connection.execute(made.order_by(c.of_idx, c.idx).limit(limit)):
            found.setdefault(of, []).append(idx)
    return found


def _with_reference(connection: Connection, wanted: Wanted, limit: int) -> tuple[list[int], int | None]:
    c = prediction.c
    conditions = [c.reference == wanted.reference, c.idx > wanted.after, _is_left(c.idx, wanted.fields)]
    if wanted.client_id is not None:
        conditions.append(c.client_id == wanted.client_id)
    if wanted.model is not None:
        conditions.append(c.model == wanted.model)
    found = select(c.idx).where(*conditions).distinct().order_by(c.idx).limit(limit)
    places = list(connection.scalars(found))
    return places, places[-1] if len(places) == limit else None


def _walked(connection: Connection, wanted: Wanted, limit: int) -> tuple[list[int], int | None]:
    """Walk the ledger window by window: neither clients nor what is left has an index, and it is not worth one."""
    c, end = record.c, _end(connection, wanted.before_us)
    conditions = [c.kind.in_(_CONTENT), _is_left(c.idx, wanted.fields)]
    if wanted.client_id is not None:
        conditions.append(c.client_id == wanted.client_id)
    if wanted.before_us is not None:
        conditions.append(c.observed_at_us < wanted.before_us)
    found: list[int] = []
    after = wanted.after
    while after + 1 < end and len(found) < limit:
        if after - wanted.after >= _MOST:
            return found, after
        last = min(after + _WINDOW, end - 1)
        within = select(c.idx).where(c.idx > after, c.idx <= last, *conditions)
        found += connection.scalars(within.order_by(c.idx).limit(limit - len(found)))
        after = found[-1] if len(found) == limit else last
    return found, after if after + 1 < end else None


def _end(connection: Connection, before_us: int | None) -> int:
    """Find the place before which all must stand that is older: records come late by `lag_us` at most."""
    size, lag_us = connection.execute(select(head.c.size, head.c.lag_us).where(head.c.id == 1)).one()
    if before_us is None:
        return int(size)
    c = record.c
    younger = select(c.idx).where(c.observed_at_us > before_us + lag_us).order_by(c.observed_at_us, c.idx)
    found = connection.scalar(younger.limit(1))
    return int(size) if found is None else int(found)


def _is_left(idx: ColumnElement[int], wanted: int) -> ColumnElement[bool]:
    """Say in SQL that something of what is wanted is still there; no bit is erased twice, so a sum is a union."""
    gone = select(func.coalesce(func.sum(erased.c.fields), 0)).where(erased.c.idx == idx).scalar_subquery()
    return gone.op("&")(literal(wanted)) != wanted
