"""Opening the database: one pen that writes, readers that cannot. What a database can do is in its own file.

db/sqlite.py      the settings of SQLite, each with its reason
db/postgresql.py  the settings of PostgreSQL, each with its reason
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, make_url
from sqlalchemy.exc import SQLAlchemyError

DEADLINE_S = 5.0
Inserter = Callable[[Connection, Sequence[tuple[Any, ...]]], None]


class StorageRefused(Exception):
    """The database is not set so that it could keep what the ledger promises; nothing was written."""

    def __init__(self, setting: str, value: object, cure: str) -> None:
        super().__init__(f"{setting} is {value!r}: {cure}")
        self.setting = setting
        self.value = value
        self.cure = cure


class StorageUnavailable(Exception):
    """The database cannot be reached right now; asking again later may help."""


def open_pen(url: str, deadline_s: float = DEADLINE_S) -> Engine:
    """Open the one connection that writes, and prove its settings at once and whenever it is opened again.

    Every single wait for the database ends after about `deadline_s`.

    Raises:
        StorageRefused: a setting is not what the ledger needs, or another process holds the pen.
        StorageUnavailable: there is no database, or it does not answer.
    """
    parsed = make_url(url)
    engine: Engine = _dialect(parsed).pen(parsed, deadline_s)
    try:
        with reading(engine):
            return engine
    except BaseException:
        engine.dispose()
        raise


def open_reader(url: str, deadline_s: float = DEADLINE_S) -> Engine:
    """Open a small pool of connections that cannot write; connects on first use.

    Raises:
        StorageRefused: the URL names no database that can be read here.
    """
    parsed = make_url(url)
    engine: Engine = _dialect(parsed).reader(parsed, deadline_s)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Lend a connection for a short read.

    Raises:
        StorageUnavailable: the database failed, whatever its driver calls it.
    """
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise StorageUnavailable(reason(error)) from error


@contextmanager
def moment(engine: Engine) -> Iterator[Connection]:
    """Lend a connection that sees one moment of the database, for reads that must agree with each other.

    Raises:
        StorageUnavailable: the database failed, whatever its driver calls it.
    """
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            held = connection
            held.exec_driver_sql("BEGIN")  # the driver is told to begin nothing by itself
        else:
            held = connection.execution_options(isolation_level="REPEATABLE READ")
        try:
            yield held
        finally:
            held.rollback()


def reason(error: Exception) -> str:
    """Say what the driver said, without the statement and its values."""
    return str(error.__cause__ or error).partition("\n")[0]


def file_of(engine: Engine) -> Path | None:
    """Name the file that holds the database; None where a server does."""
    return Path(engine.url.database) if engine.dialect.name == "sqlite" and engine.url.database else None


def is_storable(text: str) -> bool:
    """Say whether text could be in a database at all: PostgreSQL has no NUL, and lone surrogates are no UTF-8."""
    return ("\0" not in text and text.isascii()) or not any(
        c == "\0" or "\ud800" <= c <= "\udfff" for c in text
    )


def harden(engine: Engine) -> None:
    """Make durable what a commit that failed half-way left visible; raises SQLAlchemyError if it cannot."""
    _dialect(engine.url).harden(engine)


def scrub(engine: Engine) -> bool:
    """Take deleted content out of the files as far as the pen can, at once; False where somebody is in the way."""
    done: bool = _dialect(engine.url).scrub(engine)
    return done


def vacuum(url: str, deadline_s: float) -> None:
    """Write every table that content was erased from anew; nobody else can use them meanwhile.

    Raises:
        StorageRefused: another process writes, or this role may not.
        StorageUnavailable: the database failed.
    """
    engine = open_pen(url, deadline_s)
    try:
        _dialect(engine.url).vacuum(engine)
    except SQLAlchemyError as error:
        raise StorageUnavailable(reason(error)) from error
    finally:
        engine.dispose()


def inserter(engine: Engine, table: Table, columns: Sequence[str]) -> Inserter:
    """Return the fastest way this database has to insert many rows, given as tuples of raw values in this order."""
    insert: Inserter = _dialect(engine.url).inserter(table, columns)
    return insert


def _dialect(url: URL) -> ModuleType:
    """Choose the one file that knows this database; imported late, so that SQLite never loads psycopg."""
    match url.get_backend_name():
        case "sqlite":
            from db import sqlite

            return sqlite
        case "postgresql":
            from db import postgresql

            return postgresql
        case other:
            raise StorageRefused("database", other, "use sqlite:///<file> or postgresql+psycopg://…")
