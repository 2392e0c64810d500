"""How a record becomes rows: the columns the ledger writes, in the order in which the driver gets them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Dialect, Engine

from db import derivations, idempotency
from db.derivations import Derivations
from db.engine import inserter
from db.records import Record
from db.tables import payload, prediction, record

_PAYLOAD = ("record_id", "input", "output", "actor", "meta", "secret")
_RECORD = (
    "idx", "id", "kind", "observed_at_us", "client_id", "model", "version", "digest", "status", "leaf",
)  # fmt: skip
_PREDICTION = (
    "idx", "position", "client_id", "model", "version", "reference", "label", "score", "observed_at_us",
)  # fmt: skip

# What makes two records the same; their rows are derived from these.
CONTENT = (*_RECORD[2:-1], *_PAYLOAD[1:-1])


class Rows:
    """Writes the rows of a group through the pen, each table at once."""

    def __init__(self, engine: Engine) -> None:
        self._add_payloads = inserter(engine, payload, _PAYLOAD)
        self._add_records = inserter(engine, record, _RECORD)
        self._add_predictions = inserter(engine, prediction, _PREDICTION)
        self._derivations = Derivations(engine)
        self._raw_id = _raw_id(engine.dialect)

    def add_payloads(
        self, connection: Connection, records: Sequence[Record], secrets: Sequence[bytes]
    ) -> None:
        """Insert the bulk, which needs no place and therefore no lock."""
        rows = [
            (self._raw_id(each.id), each.input, each.output, each.actor, each.meta, secret)
            for each, secret in zip(records, secrets, strict=True)
        ]
        self._add_payloads(connection, rows)

    def add_records(
        self, connection: Connection, places: range, records: Sequence[Record], leaves: Sequence[bytes]
    ) -> list[bytes]:
        """Insert the records under their places; return the leaves as they were bound to the statement.

        Raises:
            KeyTaken: a record's key has an answer already; roll back.
            Overtaken: what a record was made from changed meanwhile; roll back.
        """
        derivations.check(connection, records)
        ids = [self._raw_id(each.id) for each in records]
        rows = list(map(_record_row, places, ids, records, leaves))
        self._add_records(connection, rows)
        idempotency.put(connection, places, records)
        self._add_predictions(connection, list(chain.from_iterable(map(_prediction_rows, places, records))))
        self._derivations.add(connection, places, records)
        return [row[-1] for row in rows]


def _record_row(place: int, raw_id: object, r: Record, leaf: bytes) -> tuple[Any, ...]:
    about = (r.observed_at_us, r.client_id, r.model, r.version, r.digest, r.status)
    return place, raw_id, int(r.kind), *about, leaf


def _prediction_rows(place: int, r: Record) -> list[tuple[object, ...]]:
    return [
        (place, p.position, r.client_id, r.model, r.version, p.reference, p.label, p.score, r.observed_at_us)
        for p in r.rows
    ]


def _raw_id(dialect: Dialect) -> Callable[[UUID], Any]:
    """Return what turns an id into the value its column stores."""
    return record.c.id.type.dialect_impl(dialect).bind_processor(dialect) or (lambda value: value)
