"""The one writer: records are remembered for ever, in one dense order, before anyone is answered."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Dialect, Engine, bindparam, select, update
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from db.engine import DEADLINE_S, StorageRefused, harden, inserter, reason
from db.records import Record
from db.tables import head, payload, prediction, record

_RETRY_S = 0.05  # between attempts to reconnect: a restarted PostgreSQL answers within seconds
_PAYLOAD = ("record_id", "input", "output", "actor", "meta")
_RECORD = (
    "idx", "id", "kind", "observed_at_us", "client_id", "model", "version", "digest", "status",
)  # fmt: skip
_PREDICTION = (
    "idx", "position", "client_id", "model", "version", "reference", "label", "score", "observed_at_us",
)  # fmt: skip

# What makes two records the same; their rows are derived from these.
_CONTENT = (*_RECORD[2:], *_PAYLOAD[1:])
_HEAD = select(head.c.size, head.c.latest_us, head.c.lag_us).where(head.c.id == 1).with_for_update()
_ADVANCE = (
    update(head)
    .where(head.c.id == 1, head.c.size == bindparam("before"))
    .values(size=bindparam("after"), latest_us=bindparam("latest"), lag_us=bindparam("lag"))
)


class LedgerUnavailable(Exception):
    """Nothing was promised. The records are not in the ledger, or `outcome_unknown`: nobody can tell yet.

    Either way the same records may be appended again under the same ids.
    """

    def __init__(self, reason: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(reason)
        self.outcome_unknown = outcome_unknown


class RecordConflict(Exception):
    """Something else is already recorded under this id."""

    def __init__(self, record_id: UUID) -> None:
        super().__init__(f"record {record_id} is already stored with different content: make a new id")
        self.record_id = record_id


class RecordRefused(Exception):
    """The database cannot store a record of this group as it is; trying again will not help."""


class _Unsettled(Exception):
    """COMMIT was sent and its answer never came."""


class Ledger:
    """Appends through the pen; safe from any thread, one group at a time."""

    def __init__(self, engine: Engine, deadline_s: float = DEADLINE_S) -> None:
        """Take an engine of `open_pen`; `deadline_s` bounds the search for a commit whose outcome is unknown."""
        self._engine = engine
        self._deadline_s = deadline_s
        self._add_payloads = inserter(engine, payload, _PAYLOAD)
        self._add_records = inserter(engine, record, _RECORD)
        self._add_predictions = inserter(engine, prediction, _PREDICTION)
        self._raw_id = _raw_id(engine.dialect)

    def append(self, records: Sequence[Record]) -> list[int]:
        """Remember the records for ever, all or none, and return the place of each in the ledger.

        Returns only when they are on disk (and on the synchronous standby where one is configured). If the
        process dies before this returns, they may or may not exist; appending them again yields the same places.

        Raises:
            LedgerUnavailable: nothing was promised; the same records may be appended again.
            RecordConflict: an id is already stored with other content; nothing of this group was appended.
            RecordRefused: the database takes a record of this group for no record; nothing was appended either.
        """
        return self._keep(records, None)

    def change(self, record: Record, apply: Callable[[Connection], None]) -> int:
        """Let `apply` change the current state and append the record of it, both or neither.

        Whatever `apply` raises is raised and nothing is changed. A record that is already stored was applied
        with it, so it is not applied again.
        """
        return self._keep([record], apply)[0]

    def _keep(self, records: Sequence[Record], apply: Callable[[Connection], None] | None) -> list[int]:
        """Append what is not stored yet; normally that is everything, so nothing is looked up first."""
        wanted: dict[UUID, Record] = {}
        for each in records:
            if wanted.setdefault(each.id, each) != each:
                raise RecordConflict(each.id)
        places: dict[UUID, int] = {}
        while missing := [each for each in wanted.values() if each.id not in places]:
            try:
                places |= self._write(missing, apply)
            except IntegrityError as conflict:
                stored = self._settle(missing)
                if not stored:
                    raise RecordRefused(reason(conflict)) from conflict
                places |= stored
            except _Unsettled as unsettled:
                places |= self._settle(missing)
                if len(places) < len(wanted):
                    raise LedgerUnavailable(str(unsettled)) from unsettled
        return [places[each.id] for each in records]

    def _write(
        self, records: Sequence[Record], apply: Callable[[Connection], None] | None
    ) -> dict[UUID, int]:
        """Write one group in one transaction; after COMMIT was sent, no error says what became of it."""
        sent = False
        try:
            with self._connection() as connection:
                connection.begin()
                places = self._insert(connection, records, apply)
                sent = True
                connection.commit()
        except IntegrityError:
            raise
        except DataError as error:
            raise RecordRefused(reason(error)) from error
        except (SQLAlchemyError, StorageRefused) as error:
            if sent:
                raise _Unsettled(reason(error)) from error
            raise LedgerUnavailable(reason(error)) from error
        return places

    def _insert(
        self, connection: Connection, records: Sequence[Record], apply: Callable[[Connection], None] | None
    ) -> dict[UUID, int]:
        """Insert the bulk before the lock on `head`, and number the records under it."""
        ids = [self._raw_id(each.id) for each in records]
        self._add_payloads(
            connection,
            [
                (id_, each.input, each.output, each.actor, each.meta)
                for id_, each in zip(ids, records, strict=True)
            ],
        )
        size, latest, lag = _lock_head(connection)
        if apply is not None:
            apply(connection)
        places = range(size, size + len(records))
        self._add_records(connection, list(map(_record_row, places, ids, records)))
        self._add_predictions(connection, list(chain.from_iterable(map(_prediction_rows, places, records))))
        for each in records:
            latest = max(latest, each.observed_at_us)
            lag = max(lag, latest - each.observed_at_us)
        after = {"before": size, "after": places.stop, "latest": latest, "lag": lag}
        if connection.execute(_ADVANCE, after).rowcount != 1:
            raise LedgerUnavailable("head moved under its lock: another writer does not take it")
        return {each.id: place for place, each in zip(places, records, strict=True)}

    def _settle(self, records: Sequence[Record]) -> dict[UUID, int]:
        """Look up what became of these records, for as long as the deadline allows, and never guess."""
        deadline = time.monotonic() + self._deadline_s
        while True:
            try:
                return self._find(records)
            except (SQLAlchemyError, StorageRefused) as error:
                if time.monotonic() >= deadline:
                    raise LedgerUnavailable(reason(error), outcome_unknown=True) from error
            time.sleep(_RETRY_S)

    def _find(self, records: Sequence[Record]) -> dict[UUID, int]:
        """Return the places of those that are stored.

        Whoever holds the lock on `head` knows that no earlier transaction is still about to commit; and once
        this commit is durable, so is everything it saw.
        """
        content = select(record, payload).join(payload, payload.c.record_id == record.c.id)
        given = {each.id: each for each in records}
        places: dict[UUID, int] = {}
        with self._connection() as connection:
            connection.begin()
            _lock_head(connection)
            for row in connection.execute(content.where(record.c.id.in_(given))).mappings():
                if any(row[name] != getattr(given[row["id"]], name) for name in _CONTENT):
                    raise RecordConflict(row["id"])
                places[row["id"]] = row["idx"]
            connection.commit()
        harden(self._engine)
        return places

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Lend the pen and throw it away after any failure: what a broken connection believes is worth nothing."""
        with self._engine.connect() as connection:
            try:
                yield connection
            except IntegrityError:
                raise
            except SQLAlchemyError:
                connection.invalidate()
                raise


def _lock_head(connection: Connection) -> tuple[int, int, int]:
    """Return (size, latest_us, lag_us) and let nobody else number records until this transaction ends."""
    row = connection.execute(_HEAD).one()
    return row.size, row.latest_us, row.lag_us


def _record_row(place: int, raw_id: object, r: Record) -> tuple[object, ...]:
    return place, raw_id, int(r.kind), r.observed_at_us, r.client_id, r.model, r.version, r.digest, r.status


def _prediction_rows(place: int, r: Record) -> list[tuple[object, ...]]:
    return [
        (place, p.position, r.client_id, r.model, r.version, p.reference, p.label, p.score, r.observed_at_us)
        for p in r.rows
    ]


def _raw_id(dialect: Dialect) -> Callable[[UUID], Any]:
    """Return what turns an id into the value its column stores."""
    return record.c.id.type.dialect_impl(dialect).bind_processor(dialect) or (lambda value: value)
