"""Outcomes, read: which predictions a report is about, what is known of each, and every report there ever was.

Whose predictions may be found is part of the SQL: another client's looks like one that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, Select, func, select, tuple_

from db.engine import is_storable, reading
from db.lookups import RecordNotFound
from db.records import prediction_id
from db.tables import derived, erased, outcome, payload, prediction, record

_AT_ONCE = 400  # names in one statement
_INPUT = 1  # the bit of the field that holds what was reported
Place = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known to have happened: as the newest record says it; without a value, that was erased."""

    idx: int
    record: UUID
    value: str | None
    number: float | None
    observed_at_us: int
    reported_at_us: int

    @property
    def shown(self) -> str | float | None:
        """Return the value as it was reported: a label, or a number."""
        return self.value if self.number is None else self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A prediction that an outcome can be reported of."""

    id: str
    idx: int
    position: int
    model: str
    version: str
    predicted_at_us: int
    known: Known | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One record of an outcome; `value` is None where it was erased, `client_id` empty where that was."""

    record: UUID
    reported_at_us: int
    client_id: str
    value: str | float | None
    observed_at_us: int | None


class Outcomes:
    """Reads through an engine of `open_reader`; every method raises StorageUnavailable when the database fails."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def by_id(
        self, names: Iterable[tuple[UUID, int]], client_id: str | None
    ) -> dict[tuple[UUID, int], Subject]:
        """Find predictions by record and position; without a client, everybody's."""
        wanted = list(dict.fromkeys(names))
        found: dict[tuple[UUID, int], Subject] = {}
        with reading(self._engine) as connection:
            places: dict[UUID, int] = {}
            for some in _chunks(list({record_id for record_id, _ in wanted})):
                rows = connection.execute(select(record.c.id, record.c.idx).where(record.c.id.in_(some)))
                places |= {row.id: row.idx for row in rows}
            named = {(places[id_], at): (id_, at) for id_, at in wanted if id_ in places}
            for each in _subjects(connection, list(named), client_id):
                found[named[each.idx, each.position]] = each
        return found

    def by_reference(
        self, model: str, references: Iterable[str], client_id: str | None
    ) -> dict[str, Subject | int]:
        """Find predictions of a model by their reference; the number of them where there are several."""
        c = prediction.c
        found: dict[str, Subject | int] = {}
        named: dict[Place, str] = {}
        mine = [] if client_id is None else [c.client_id == client_id]
        with reading(self._engine) as connection:
            for some in _chunks([each for each in dict.fromkeys(references) if is_storable(each)]):
                about = (c.reference, func.count().label("several"), func.min(c.idx).label("idx"))
                query = select(*about, func.min(c.position).label("position"))
                query = query.where(c.reference.in_(some), c.model == model, *mine).group_by(c.reference)
                for row in connection.execute(query):
                    if row.several == 1:
                        named[row.idx, row.position] = row.reference
                    else:
                        found[row.reference] = row.several
            for each in _subjects(connection, list(named), client_id):
                found[named[each.idx, each.position]] = each
        return found

    def history(self, subject: Subject, limit: int) -> list[Report]:
        """Return the newest reports of one prediction, the newest first."""
        c = derived.c
        gone = (
            select(func.coalesce(func.sum(erased.c.fields), 0)).where(erased.c.idx == c.idx).scalar_subquery()
        )
        query = (
            select(
                record.c.id, record.c.observed_at_us, record.c.client_id, payload.c.input, gone.label("gone")
            )
            .select_from(derived)
            .join(record, record.c.idx == c.idx)
            .outerjoin(payload, payload.c.record_id == record.c.id)
            .where(c.of_idx == subject.idx, c.position == subject.position)
            .order_by(c.idx.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [_report(row) for row in connection.execute(query)]

    def subject(self, record_id: UUID, position: int, client_id: str | None) -> Subject:
        """Find one prediction; raises RecordNotFound where there is none, or it is another client's."""
        found = self.by_id([(record_id, position)], client_id)
        if not found:
            raise RecordNotFound(prediction_id(record_id, position))
        return found[record_id, position]


def _subjects(connection: Connection, places: Sequence[Place], client_id: str | None) -> Iterator[Subject]:
    for some in _chunks(places):
        for row in connection.execute(_query(some, client_id)):
            known = None
            if row.outcome_idx is not None:
                known = Known(
                    idx=row.outcome_idx,
                    record=row.reported,
                    value=row.value,
                    number=row.number,
                    observed_at_us=row.seen_us,
                    reported_at_us=row.reported_at_us,
                )
            yield Subject(
                id=prediction_id(row.id, row.position),
                idx=row.idx,
                position=row.position,
                model=row.model,
                version=row.version,
                predicted_at_us=row.observed_at_us,
                known=known,
            )


def _query(places: Sequence[Place], client_id: str | None) -> Select[Any]:
    c, o, by = prediction.c, outcome.c, record.alias("by")
    about = (c.idx, c.position, c.model, c.version, c.observed_at_us, record.c.id)
    told = (o.outcome_idx, o.value, o.number, o.observed_at_us.label("seen_us"), o.reported_at_us)
    mine = [] if client_id is None else [c.client_id == client_id]
    return (
        select(*about, *told, by.c.id.label("reported"))
        .select_from(prediction)
        .join(record, record.c.idx == c.idx)
        .outerjoin(outcome, (o.prediction_idx == c.idx) & (o.position == c.position))
        .outerjoin(by, by.c.idx == o.outcome_idx)
        .where(tuple_(c.idx, c.position).in_(places), *mine)
    )


def _report(row: Any) -> Report:
    is_told = row.input is not None and not int(row.gone) & _INPUT
    args = orjson.loads(row.input)["args"] if is_told else {}
    return Report(
        record=row.id,
        reported_at_us=row.observed_at_us,
        client_id=row.client_id,
        value=args.get("value"),
        observed_at_us=args.get("observed_at_us", row.observed_at_us) if is_told else None,
    )


def _chunks(names: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE))
