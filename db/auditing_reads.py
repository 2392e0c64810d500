"""What an audit reads of a range of records: tuples straight from the driver, and never more at once than fits.

SQLAlchemy's rows would cost as much as everything that is done with them. SQLite hands out rows one by one. PostgreSQL
sends records, few at a time, while those before them are looked at; meanwhile the connection takes no other question,
so they have one of their own, to the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from db.engine import StorageUnavailable, reason

_RECORDS_AT_ONCE, _LOOKUPS_AT_ONCE = 16, 1000  # out of PostgreSQL; a record may have megabytes
_numbers = count()  # of its cursors


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment of the database, and where its records are read, many in a row; on SQLite in the same place."""

    connection: Connection
    records: Connection


class Row(NamedTuple):
    """One record and its payload as they are stored; without a payload, `record_id` and all behind it are None."""

    idx: int
    id: Any
    kind: Any
    status: Any
    observed_at_us: Any
    digest: Any
    leaf: Any
    client_id: Any
    model: Any
    version: Any
    record_id: Any
    input: Any
    output: Any
    actor: Any
    meta: Any
    secret: Any


class Lookup(NamedTuple):
    """One row of lookups as it is stored."""

    idx: int
    position: int
    client_id: Any
    model: Any
    version: Any
    reference: Any
    label: Any
    score: Any
    observed_at_us: Any
    outcome_idx: Any
    newest_idx: Any  # what the table of outcomes says in its place


_ID = {"sqlite": "{}", "postgresql": "uuid_send({})"}  # as bytes: a UUID costs as much to make as a hash
_RECORDS = (
    "SELECT r.idx, {id}, r.kind, r.status, r.observed_at_us, r.digest, r.leaf, r.client_id, r.model, r.version,"
    " {record_id}, p.input, p.output, p.actor, p.meta, p.secret"
    " FROM record r LEFT JOIN payload p ON p.record_id = r.id"
    " WHERE r.idx >= {start} AND r.idx < {stop} ORDER BY r.idx"
)
_NEWEST = (
    "CASE WHEN p.outcome_idx IS NOT NULL THEN (SELECT o.outcome_idx FROM outcome o"
    " WHERE o.prediction_idx = p.idx AND o.position = p.position) END"
)
_LOOKUPS = (
    f"SELECT {', '.join(f'p.{name}' for name in Lookup._fields[:-1])}, {_NEWEST} FROM prediction p"  # noqa: S608  # our own names
    " WHERE p.idx >= {start} AND p.idx < {stop} ORDER BY p.idx, p.position"
)


def records(connection: Connection, start: int, stop: int) -> Iterator[tuple[Any, ...]]:
    """Read the records from `start` up to `stop`, each in the order of Row's fields."""
    spelling = _ID[connection.dialect.name]
    ids = {"id": spelling.format("r.id"), "record_id": spelling.format("p.record_id")}
    query = _RECORDS.format(start=int(start), stop=int(stop), **ids)
    if connection.dialect.name == "sqlite":
        return _streamed(connection, query)
    driver: Any = connection.connection.driver_connection
    return _sent(driver, query)


def lookups(connection: Connection, start: int, stop: int) -> Iterator[tuple[Any, ...]]:
    """Read the rows of lookups that belong to these records, each in the order of Lookup's fields."""
    query = _LOOKUPS.format(start=int(start), stop=int(stop))
    if connection.dialect.name == "sqlite":
        return _streamed(connection, query)
    return _fetched(connection.connection.driver_connection, query)


@contextmanager
def driving(connection: Connection) -> Iterator[None]:
    """Read through SQLAlchemy and past it, and say of both what `reading` says.

    Raises:
        StorageUnavailable: the database failed, or is broken.
    """
    driver: Any = connection.dialect.loaded_dbapi
    try:
        yield
    except (driver.Error, SQLAlchemyError) as error:
        raise StorageUnavailable(reason(error)) from error


def _streamed(connection: Connection, query: str) -> Iterator[tuple[Any, ...]]:
    driver: Any = connection.connection.driver_connection
    rows: Iterator[tuple[Any, ...]] = driver.execute(query)
    return rows


def _sent(driver: Any, query: str) -> Iterator[tuple[Any, ...]]:
    """Read what the server sends without being asked again, in binary: bytes as text would double on the way."""
    with driver.cursor() as cursor:
        yield from cursor.stream(query.encode(), binary=True, size=_RECORDS_AT_ONCE)


def _fetched(driver: Any, query: str) -> Iterator[tuple[Any, ...]]:
    """Read through a cursor of the server's: others can be read from the same connection meanwhile."""
    with driver.cursor(name=f"audit_{next(_numbers)}") as cursor:
        cursor.execute(query.encode(), binary=True)
        while rows := cursor.fetchmany(_LOOKUPS_AT_ONCE):
            yield from rows
