"""Finding records again: exact comparison, newest first, page by page, and never a foreign client's row.

A client's own id is always part of the SQL, never a filter of what came back. How a search finds its rows without
reading everything is in db/walks.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from heapq import merge
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, literal, select

from db import walks
from db.engine import is_storable, reading
from db.erased import Erased, RecordErased, erasures_of
from db.records import Kind, prediction_id
from db.tables import outcome, payload, prediction, record
from db.types import RecordId

_STREAM_PAGE = 1_000  # rows per read of a stream: long enough to be fast, short enough to hold nothing back
OWN = (Kind.PREDICTION, Kind.OUTCOME)  # kinds of records that a client may read where they are its own
_POSITIONS = 2**31 - 1  # the column holds no more
# What stands in leaves is for proofs: db/proofs.py.
_RECORD = [each for each in record.c if each.name != "leaf"]
_LAST = 2**62  # no place and no time is beyond this, and adding a delay to it still fits


class RecordNotFound(LookupError):
    """There is no such record, or it is not this client's: the two cannot be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What to look for; None means "any". Both ends of a range belong to it."""

    client_id: str | None = None
    model: str | None = None
    version: str | None = None
    reference: str | None = None
    label: str | None = None
    score_min: float | None = None
    score_max: float | None = None
    from_us: int | None = None
    to_us: int | None = None
    has_outcome: bool | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the place of one prediction in the ledger."""

    idx: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPrediction:
    """One instance as the index knows it."""

    id: str
    idx: int
    position: int
    observed_at_us: int
    client_id: str
    model: str
    version: str
    reference: str | None
    label: str | None
    score: float | None
    has_outcome: bool
    outcome: str | float | None = None  # None, too, where it was erased
    is_erased: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRecord:
    """One record with its exact bytes, None for what was erased; `erasures` say why."""

    id: UUID
    idx: int
    kind: Kind
    observed_at_us: int
    client_id: str
    model: str | None
    version: str | None
    digest: bytes | None
    status: int
    input: bytes | None
    output: bytes | None
    actor: bytes | None
    meta: bytes | None
    erasures: tuple[Erased, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInstance:
    """One instance and the record it is part of, of which input and output are there."""

    prediction: FoundPrediction
    record: FoundRecord
    input: bytes
    output: bytes


class Lookups:
    """Reads the ledger through an engine of `open_reader`; any number may run beside the pen.

    Every method raises StorageUnavailable when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def search(self, wanted: Filter, after: Position | None = None, limit: int = 50) -> list[FoundPrediction]:
        """Return at most `limit` predictions, newest first, starting behind `after`."""
        if not all(is_storable(each) for each in _texts(wanted)):
            return []  # what no database can have stored
        wanted = replace(wanted, from_us=_stored(wanted.from_us), to_us=_stored(wanted.to_us))
        behind = None if after is None else (min(after.idx, _LAST), min(after.position, _POSITIONS))
        with reading(self._engine) as connection:
            span = walks.span(connection, wanted, behind)
            if found := walks.recent(connection, wanted, span, limit):
                return list(map(_prediction, found))
            pages = [
                walks.page(connection, branch, span, limit) for branch in walks.branches(connection, wanted)
            ]
        rows = merge(*pages, key=lambda row: (row.idx, row.position), reverse=True)
        return [_prediction(row) for row in islice(rows, limit)]

    def stream(self, wanted: Filter) -> Iterator[FoundPrediction]:
        """Yield everything that matches, newest first, in short reads; what is appended meanwhile is not seen."""
        after: Position | None = None
        while page := self.search(wanted, after, _STREAM_PAGE):
            yield from page
            after = Position(page[-1].idx, page[-1].position)

    def prediction(self, record_id: UUID, position: int, client_id: str | None = None) -> FoundInstance:
        """Return one instance with its record's exact bytes.

        Raises:
            RecordNotFound: there is none, or, where `client_id` is given, it is another client's.
            RecordErased: what went in or what came out is gone.
        """
        found = self.record(record_id, client_id)
        if not 0 <= position <= _POSITIONS:
            raise RecordNotFound(prediction_id(record_id, position))
        columns = (prediction, literal(record_id, RecordId).label("id"), walks.IS_ERASED, *walks.OUTCOME)
        rows = select(*columns).outerjoin(outcome, walks.ITS_OUTCOME)
        query = rows.where(prediction.c.idx == found.idx, prediction.c.position == position)
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise RecordNotFound(prediction_id(record_id, position))
        if found.input is None or found.output is None:
            raise RecordErased(record_id, found.erasures)
        return FoundInstance(
            prediction=_prediction(row), record=found, input=found.input, output=found.output
        )

    def record(self, record_id: UUID, client_id: str | None = None) -> FoundRecord:
        """Return one record of any kind; where `client_id` is given, one of its predictions or of its own reports.

        Raises:
            RecordNotFound: there is none, or, where `client_id` is given, it is another client's or of another kind.
        """
        query = (
            select(*_RECORD, payload.c.input, payload.c.output, payload.c.actor, payload.c.meta)
            .outerjoin(payload, payload.c.record_id == record.c.id)
            .where(record.c.id == record_id)
        )
        if client_id is not None:
            mine = client_id if is_storable(client_id) else ""
            # What a client did with more powers than it has now may tell of others: what it said itself is its own.
            query = query.where(record.c.client_id == mine, record.c.kind.in_(OWN))
        with reading(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
            erasures = () if row is None else erasures_of(connection, row["idx"])
        if row is None or (row["input"] is None and not erasures):
            raise RecordNotFound(str(record_id))
        gone = dict.fromkeys(name for each in erasures for name in each.fields)
        return FoundRecord(**{**row, **gone, "kind": Kind(row["kind"]), "erasures": erasures})


def _texts(wanted: Filter) -> list[str]:
    return [value for each in fields(wanted) if isinstance(value := getattr(wanted, each.name), str)]


def _stored(at_us: int | None) -> int | None:
    """Move a time beyond all that can be stored to where the database can still compare it."""
    return None if at_us is None else max(-_LAST, min(at_us, _LAST))


def _prediction(row: Row[Any]) -> FoundPrediction:
    return FoundPrediction(
        id=prediction_id(row.id, row.position),
        idx=row.idx,
        position=row.position,
        observed_at_us=row.observed_at_us,
        client_id=row.client_id,
        model=row.model,
        version=row.version,
        reference=row.reference,
        label=row.label,
        score=row.score,
        has_outcome=row.outcome_idx is not None,
        outcome=row.value if row.number is None else row.number,
        is_erased=row.is_erased,
    )
