"""How OnRecord uses PostgreSQL: engines of several hosts write, queued on the one row of `head`."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Dialect, Engine, QueuePool, Table, create_engine, event
from sqlalchemy.dialects.postgresql import dialect as postgresql
from sqlalchemy.exc import DBAPIError

from db.engine import Inserter, StorageRefused

_SPELLING: Dialect = postgresql()  # type: ignore[no-untyped-call]  # SQLAlchemy gives no type; bigint, uuid, …
_GRACE_S = 1.0  # the server's own timeouts speak first: their errors leave the connection usable
_VACUUMED = ("payload", "prediction", "record", "erased", "hold", "block")
_READERS = 4  # connections per process: doors are several, and PostgreSQL's are dear
# What psycopg.connect takes beside libpq's parameters; from a URL it would come as text, and undo what is set here.
_OURS = frozenset({"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"})

# A setting of None is only read back: it belongs to the server.
_COMMON: dict[str, tuple[str | None, str]] = {
    "server_encoding": (None, "UTF8"),  # else references are compared as unspecified bytes
}
_PEN: dict[str, tuple[str | None, str]] = {
    **_COMMON,
    "fsync": (None, "on"),  # off: a power loss corrupts what was answered
    "full_page_writes": (None, "on"),  # off: so does a torn page
    "in_hot_standby": (None, "off"),  # a standby cannot write: better said now than at the first append
    # Roles and databases may have settings of their own, which the session's override:
    "synchronous_commit": (
        "on",
        "on",
    ),  # off: COMMIT returns before the disk has it; local: before the standby
    "default_transaction_read_only": ("off", "off"),
    "default_transaction_isolation": ("read committed",) * 2,  # stricter: waiting for `head` ends in an error
}
_READER: dict[str, tuple[str | None, str]] = {
    **_COMMON,
    "default_transaction_read_only": ("on", "on"),  # a door has no pen, even if its role has
}


def pen(url: URL, deadline_s: float) -> Engine:
    """Open one connection for writing; other hosts may have theirs."""
    limit = str(round(deadline_s * 1000))
    settings = {
        **_PEN,
        "lock_timeout": (limit, limit),  # a hung holder of `head` must not hang everyone
        "idle_in_transaction_session_timeout": (limit, limit),  # and the hung holder itself is thrown out
        "statement_timeout": (limit, limit),
    }
    return _open(url, deadline_s, settings, pool_size=1)


def reader(url: URL, deadline_s: float) -> Engine:
    """Open a few connections for reading, each statement its own transaction."""
    limit = str(round(deadline_s * 1000))
    settings = {**_READER, "statement_timeout": (limit, limit)}
    return _open(
        url, deadline_s, settings, pool_size=_READERS, pool_pre_ping=True, isolation_level="AUTOCOMMIT"
    )


def harden(engine: Engine) -> None:
    """Do nothing: a later commit that waited for the disk and the standby covers every commit before it."""


def scrub(_engine: Engine) -> bool:
    """Do nothing: rows that were erased leave the files with `vacuum`, which the pen's role may not do."""
    return True


def vacuum(engine: Engine) -> None:
    """Write the tables anew that content is erased from; a plain VACUUM leaves old bytes in the pages."""
    with engine.connect() as connection:
        raw: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]  # SQLAlchemy does not know which
        said: list[str] = []
        note = lambda notice: said.append(f"{notice.message_primary}")  # noqa: E731  # removed again by identity
        raw.add_notice_handler(note)
        raw.autocommit = True
        try:
            for table in _VACUUMED:
                raw.execute(f"VACUUM FULL {table}".encode())
        except psycopg.Error as error:
            raise DBAPIError.instance(
                "VACUUM", None, error, psycopg.Error, dialect=connection.dialect
            ) from error
        finally:
            raw.remove_notice_handler(note)
            connection.invalidate()
    if said:
        cure = "run it with the DATABASE_URL of the tables' owner, as migrate is"
        raise StorageRefused("vacuum", said[0], cure)


def inserter(table: Table, columns: Sequence[str]) -> Inserter:
    """Insert by COPY in binary: half the time of prepared INSERTs in a pipeline, a third of our processor time."""
    statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    types = [table.c[name].type.compile(_SPELLING).lower() for name in columns]

    def insert(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        try:
            with connection.connection.cursor().copy(statement) as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            raise DBAPIError.instance(
                statement, None, error, psycopg.Error, dialect=connection.dialect
            ) from error

    return insert


def _open(
    url: URL, deadline_s: float, settings: Mapping[str, tuple[str | None, str]], **options: Any
) -> Engine:
    """Make an engine whose every new connection has these settings, proven."""
    for name in _OURS & set(url.query):
        raise StorageRefused(
            name, url.query[name], "leave it out of DATABASE_URL; only libpq's parameters go there"
        )
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=QueuePool,
        max_overflow=0,
        pool_timeout=deadline_s,
        hide_parameters=True,  # errors name no values: payloads stay out of logs
        **options,
    )

    def connect(_dialect: Dialect, _entry: object, args: Any, keywords: Any) -> _Bounded:
        limit_s = max(2, round(deadline_s))
        connection = _Bounded.connect(*args, **{**keywords, "connect_timeout": limit_s}, autocommit=True)
        connection.deadline_s = deadline_s + _GRACE_S
        try:
            _set(connection, settings)
        except BaseException:
            connection.close()
            raise
        connection.autocommit = False
        return connection

    event.listen(engine, "do_connect", connect)
    return engine


def _set(connection: psycopg.Connection[Any], settings: Mapping[str, tuple[str | None, str]]) -> None:
    """Set what is ours to set, then read everything back: roles, databases and poolers have settings too."""
    for name, (wanted, _) in settings.items():
        if wanted is not None:
            connection.execute("SELECT set_config(%s, %s, false)", (name, wanted))
    rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(settings),))
    found = dict(rows.fetchall())
    for name, (wanted, expected) in settings.items():
        if found.get(name) != expected:
            owner = "the server's configuration" if wanted is None else "the session, past any pooler"
            raise StorageRefused(name, found.get(name), f"set it to {expected} in {owner}")


class _Bounded(psycopg.Connection[Any]):
    """A connection that never waits for ever, and whose commit never hides a warning."""

    deadline_s: float | None = None
    _warning: str | None = None

    def wait(self, gen: Generator[Any, Any, Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Give up on a server that is reachable but silent; its own timeouts have passed by then."""
        return super().wait(gen, interval, self.deadline_s if timeout is None else timeout)

    def commit(self) -> None:
        """Commit; a warning means a wait for the synchronous standby was cancelled: committed here, maybe not there."""
        self._warning = None
        self.add_notice_handler(self._note)
        try:
            super().commit()
        finally:
            self.remove_notice_handler(self._note)
        if self._warning is not None:
            raise psycopg.OperationalError(self._warning)

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warning = notice.message_primary
