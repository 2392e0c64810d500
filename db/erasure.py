"""Erasure: first the record that says what goes, why and for whom, then it goes, in one transaction.

The leaf of an erased record stays, so its place, the root and every receipt stay what they are; what opened its
commitments is gone. Whoever erases names at most a batch of records at once, found before the pen is needed and looked
at again under its lock. What was made from a record, its replays and outcomes, goes with it. What the columns of an
erased record say can no longer be read off its payload: the record of the erasure says it instead (`listed`,
`origins`), and verification holds the columns against that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from db import blocks, holds
from db.engine import reading
from db.finding import Wanted, along, candidates, with_derived
from db.holds import Held
from db.records import COMMITTED, EVERYTHING, Kind, fields, kept, mask
from db.tables import derived, erased, outcome, payload, prediction, record

RECORDS, ROWS = 200, 20_000  # of one batch: erased within some 50 ms, under the lock on `head`
# What other records consist of is the ledger's own memory: who may call, what is served, what was erased and held.
# A replay repeats what a prediction said, an outcome is about the same person, a verification quotes what it finds.
ERASABLE: Mapping[int, int] = dict.fromkeys(
    (Kind.PREDICTION, Kind.REPLAY, Kind.OUTCOME, Kind.VERIFICATION), EVERYTHING
)
_ANYWAY = mask(("actor", "meta"))


class NotErasable(Exception):
    """What was asked to be erased is part of the ledger's own memory."""


class ErasureStale(Exception):
    """Between looking and erasing something changed; look again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One record of which something is to go: `fields` are the bits of what is there and asked for.

    `of` and `position` say which record it was made from, if from any, and from which prediction in it.
    """

    idx: int
    id: UUID
    kind: int
    asked: int
    fields: int
    client_id: str
    model: str | None
    version: str | None
    of: int | None
    position: int | None
    rows: int  # how many predictions it holds
    holds: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one erasure can take on: what may go, what is held, and where the next one goes on (None: nowhere)."""

    targets: tuple[Target, ...]
    held: tuple[Target, ...]
    following: int | None


def find(engine: Engine, wanted: Wanted, key: bytes, now_us: int) -> Batch:
    """Find the next records of which something can be erased; `key` is that of held references.

    Raises:
        RecordNotFound: the one record that was asked for does not exist.
        NotErasable: it has to stay for the ledger to be understood.
        StorageUnavailable, HoldKeyLost: nothing can be said.
    """
    with reading(engine) as connection:
        places, following = candidates(connection, wanted, RECORDS)
        if wanted.record_id is not None:
            _refuse_protected(connection, places, wanted.fields)
        asked, following = with_derived(connection, places, following, wanted.fields, RECORDS)
        found = _facts(connection, asked, key, now_us)
    taken: list[Target] = []
    rows = 0
    for each in found:
        rows += each.rows
        if taken and rows > ROWS:
            following = taken[-1].idx
            break
        taken.append(each)
    return Batch(
        targets=tuple(each for each in taken if not each.holds),
        held=tuple(each for each in taken if each.holds),
        following=following,
    )


def check(connection: Connection, targets: Sequence[Target], key: bytes, now_us: int) -> None:
    """Look again, under the lock on `head`; raises ErasureStale where anything is not what was found."""
    asked = {each.idx: each.asked for each in targets}
    is_same = _facts(connection, asked, key, now_us) == list(targets)
    if not is_same or any(not each.holds for each in _late(connection, asked, key, now_us)):
        raise ErasureStale("what was to be erased changed meanwhile; ask again")


def listed(targets: Iterable[Target]) -> list[dict[str, Any]]:
    """Write what is erased as the record of the erasure keeps it: alike records together, their places as ranges.

    No value of theirs is in it: model, version and the number of predictions are what their columns go on saying.
    """

    def alike(each: Target) -> tuple[int, str, str, int]:
        return each.fields, each.model or "", each.version or "", each.rows

    return [
        {
            "fields": fields(bits),
            "model": model or None,
            "version": version or None,
            "predictions": rows,
            "records": list(_ranges([each.idx for each in group])),
        }
        for (bits, model, version, rows), group in groupby(
            sorted(targets, key=lambda each: (*alike(each), each.idx)), alike
        )
    ]


def origins(targets: Iterable[Target]) -> list[list[int | None]]:
    """Write what derived records were made from, which only their payloads say: place, original's place, position."""
    return [[each.idx, each.of, each.position] for each in targets if each.of is not None]


def erase(connection: Connection, place: int, targets: Sequence[Target]) -> None:
    """Let everything go that the erasure at this place, which is stored already, says is gone."""
    rows = [{"idx": each.idx, "erasure_idx": place, "fields": each.fields} for each in targets]
    if not rows:
        return
    connection.execute(insert(erased), rows)
    _forget_payloads(connection, targets)
    blocks.forget(connection, [each.idx for each in targets])
    for bits, columns in (("input", ("reference",)), ("output", ("label", "score"))):
        _forget(connection, prediction, _with(targets, bits), dict.fromkeys(columns))
    if places := _with(targets, "input"):
        gone = {"value": None, "number": None, "observed_at_us": outcome.c.reported_at_us}
        connection.execute(update(outcome).where(outcome.c.outcome_idx.in_(places)).values(gone))
    for table in (prediction, record):
        _forget(connection, table, _with(targets, "actor"), {"client_id": ""})


def _facts(connection: Connection, asked: Mapping[int, int], key: bytes, now_us: int) -> list[Target]:
    """Say of each of these records what of that asked for could still be erased, leaving out those with nothing.

    A hold on an original holds what was made from it, too.
    """
    c, made = record.c, derived.c
    gone = select(func.coalesce(func.sum(erased.c.fields), 0)).where(erased.c.idx == c.idx).scalar_subquery()
    count = select(func.count()).where(prediction.c.idx == c.idx).scalar_subquery()
    about = (c.idx, c.id, c.kind, c.client_id, c.model, c.version)
    query = select(*about, made.of_idx.label("of"), made.position, gone.label("gone"), count.label("rows"))
    query = query.outerjoin(derived, made.idx == c.idx)
    rows = connection.execute(query.where(c.idx.in_(asked)).order_by(c.idx)).all()
    origins = connection.execute(select(*about).where(c.idx.in_({row.of for row in rows} - {None}))).all()
    held = holds.blocking(connection, [_held(row) for row in {*rows, *origins}], key, now_us)
    found = []
    for row in rows:
        wanted = asked[row.idx]
        if left := wanted & ERASABLE.get(row.kind, _ANYWAY) & ~int(row.gone):
            values = {name: value for name, value in row._mapping.items() if name != "gone"}
            on = tuple(sorted({*held.get(row.idx, ()), *held.get(row.of, ())}))
            found.append(Target(**values, asked=wanted, fields=left, holds=on))
    return found


def _late(connection: Connection, asked: Mapping[int, int], key: bytes, now_us: int) -> list[Target]:
    """Find what was made from these records since they were looked at, and could be erased with them."""
    c = derived.c
    rows = connection.execute(select(c.idx, c.of_idx).where(c.of_idx.in_(asked))).all()
    wanted = {row.idx: along(asked[row.of_idx]) for row in rows if row.idx not in asked}
    return _facts(connection, wanted, key, now_us) if wanted else []


def _refuse_protected(connection: Connection, places: Sequence[int], wanted: int) -> None:
    (kind,) = connection.scalars(select(record.c.kind).where(record.c.idx.in_(places)))
    if protected := fields(wanted & ~ERASABLE.get(kind, _ANYWAY)):
        raise NotErasable(
            f"{' and '.join(protected)} of a record of kind {Kind(kind).name.lower()} are the ledger's own memory; "
            "of such a record, actor and meta can be erased"
        )


def _held(row: Any) -> Held:
    return Held(idx=row.idx, id=row.id, client_id=row.client_id, model=row.model)


def _forget_payloads(connection: Connection, targets: Sequence[Target]) -> None:
    """Empty what goes and keep the salts of what stays; a payload of which nothing stays is deleted."""
    by_id = {each.id: each for each in targets}
    found = connection.execute(
        select(payload.c.record_id, payload.c.secret).where(payload.c.record_id.in_(by_id))
    ).all()
    emptied: dict[int, list[dict[str, Any]]] = {}
    deleted = []
    for record_id, secret in found:
        bits = by_id[record_id].fields
        left = kept(secret, bits)
        if any(left):
            emptied.setdefault(bits, []).append({"of": record_id, "left": left})
        else:
            deleted.append(record_id)
    for bits, rows in emptied.items():
        forget = update(payload).where(payload.c.record_id == bindparam("of"))
        values = dict.fromkeys(fields(bits), b"")
        connection.execute(forget.values(secret=bindparam("left"), **values), rows)
    if deleted:
        connection.execute(delete(payload).where(payload.c.record_id.in_(deleted)))


def _forget(connection: Connection, table: Any, places: Sequence[int], values: Mapping[str, Any]) -> None:
    if places:
        connection.execute(update(table).where(table.c.idx.in_(places)).values(values))


def _with(targets: Iterable[Target], name: str) -> list[int]:
    return [each.idx for each in targets if each.fields >> COMMITTED.index(name) & 1]


def _ranges(places: Sequence[int]) -> Iterator[list[int]]:
    """Write ascending numbers as pairs of first and last."""
    for _, run in groupby(enumerate(places), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        yield [numbers[0], numbers[-1]]
