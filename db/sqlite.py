"""How OnRecord uses SQLite: one process writes, any number read."""

import fcntl
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, Table, create_engine, event
from sqlalchemy.exc import OperationalError

from db import driver
from db.engine import Inserter, StorageRefused

# (pragma, what is asked for, what must be read back)
_PEN = (
    ("journal_mode", "WAL", "wal"),  # readers never block the pen, and one fsync makes a commit durable
    ("synchronous", "FULL", 2),  # NORMAL syncs no COMMIT: power loss would take records that were answered
    ("foreign_keys", "ON", 1),  # off by default
    ("wal_autocheckpoint", "8000", 8000),  # pages, 32 MB: hot pages are copied once per 8000, not per 1000
    ("journal_size_limit", "67108864", 67108864),  # a log that a reader let grow is cut when it begins anew
    ("cache_size", "-65536", -65536),  # KiB: the right edges of all indexes stay in memory
    ("trusted_schema", "OFF", 0),  # functions planted in the schema are not run
    ("secure_delete", "ON", 1),  # erased content is overwritten, not only let go of
    *([("fullfsync", "ON", 1)] if sys.platform == "darwin" else []),  # fsync alone leaves data in the drive
)
_READER = (
    ("query_only", "ON", 1),  # beside mode=ro, which SQLite ignores for attached databases
    ("trusted_schema", "OFF", 0),
)
_COPY = "PRAGMA wal_checkpoint(FULL)"
_SCRUB_MS = 50  # how long the pen waits for readers to let go of the WAL
# Rows of one INSERT, larger before smaller: a statement costs more than a row, and lets go of the interpreter, which
# other threads may then keep for milliseconds.
_AT_ONCE = (128, 32, 8, 2, 1)
_READERS = 8  # connections per process: a lookup takes milliseconds, more would only queue on the disk


def pen(url: URL, deadline_s: float) -> Engine:
    """Open the file for writing; it is created if absent.

    One process at a time holds `<file>.pen` locked: two connections that write or checkpoint at once can corrupt
    a database under SQLite before 3.51.3 (sqlite.org/wal.html#walresetbug).
    """
    file = _file(url)
    settings = (*_PEN, ("busy_timeout", str(round(deadline_s * 1000)), round(deadline_s * 1000)))

    def connect() -> sqlite3.Connection:
        with ExitStack() as undone:
            lock = undone.enter_context(_hold(file))
            connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, factory=_Pen)
            connection.lock = lock
            _set(connection, settings)
            undone.pop_all()
        return connection

    engine = _engine(url, connect, pool_size=1, pool_timeout=deadline_s)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reader(url: URL, deadline_s: float) -> Engine:
    """Open the file read-only; such a connection never checkpoints either."""
    file = _file(url)

    def connect() -> sqlite3.Connection:
        return _set(
            sqlite3.connect(
                f"file:{quote(str(file))}?mode=ro",
                uri=True,
                timeout=deadline_s,
                isolation_level=None,
                check_same_thread=False,
            ),
            _READER,
        )

    return _engine(url, connect, pool_size=_READERS, pool_timeout=deadline_s)


def harden(engine: Engine) -> None:
    """Let what is visible stay, and what is not never come back, after a commit that failed.

    After a failed fsync the kernel may call pages clean that never reached the disk, so a commit that is visible
    is not yet durable, and syncing the WAL again would prove nothing. Copied pages are new writes: copy the WAL into
    the database file and sync that.

    A commit that is not visible may stand whole in the WAL, behind its end: while others keep the file open only they
    know where that is, and once all have died, recovery would believe every commit there. A commit of nothing
    overwrites its first page.
    """
    try:  # past SQLAlchemy, which would begin transactions of its own
        with engine.connect() as connection:
            cursor = connection.connection.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                (version,) = cursor.execute("PRAGMA user_version").fetchone()
                cursor.execute(f"PRAGMA user_version = {version}")  # writes its page whatever the number is
                cursor.execute("COMMIT")
                busy, frames, copied = cursor.execute(_COPY).fetchone()
            except sqlite3.Error:
                connection.invalidate()
                raise
    except sqlite3.Error as error:
        raise OperationalError(_COPY, None, error) from error
    if busy or frames != copied:
        raise OperationalError(_COPY, None, sqlite3.OperationalError("a reader is in the way"))


def scrub(engine: Engine) -> bool:
    """Copy the WAL into the file and empty it: until then it has pages from before an erasure.

    A reader in the middle of a long read is in the way, and not waited for: the pen has others to serve.
    """
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        (patience_ms,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {_SCRUB_MS}")
            (is_busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            cursor.execute(f"PRAGMA busy_timeout = {patience_ms}")
        except sqlite3.Error as error:
            connection.invalidate()
            raise OperationalError("PRAGMA wal_checkpoint(TRUNCATE)", None, error) from error
    return not is_busy


def vacuum(engine: Engine) -> None:
    """Write the whole file anew: pages that were split long ago may still have copies of what was in them."""
    with engine.connect() as connection:
        try:
            cursor = connection.connection.cursor()
            cursor.execute("VACUUM")
            (is_busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            connection.invalidate()
            raise OperationalError("VACUUM", None, error) from error
    if is_busy:
        raise StorageRefused("wal_checkpoint", "busy", "somebody reads the database: ask again later")


def inserter(table: Table, columns: Sequence[str]) -> Inserter:
    """Insert through the driver, many rows by one statement: each statement costs more than a row.

    OR FAIL keeps no copy of the pages that many rows change; after an error, roll back what came before it, too.
    """
    marks = f"({', '.join('?' * len(columns))})"
    into = f"INTO {table.name} ({', '.join(columns)}) VALUES "
    statements = [(count, f"INSERT OR FAIL {into}{', '.join([marks] * count)}") for count in _AT_ONCE]

    def insert(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        start = 0
        for count, statement in statements:
            while len(rows) - start >= count:
                driver.run(connection, statement, tuple(chain.from_iterable(rows[start : start + count])))
                start += count

    return insert


class _Pen(sqlite3.Connection):
    """A connection that holds the writers' lock for as long as it is open."""

    lock: IO[bytes]

    def close(self) -> None:
        super().close()
        self.lock.close()


def _engine(url: URL, connect: Callable[[], sqlite3.Connection], **pool: Any) -> Engine:
    """Make an engine of connections of ours, whose errors name no values: payloads stay out of logs."""
    return create_engine(
        url, creator=connect, poolclass=QueuePool, max_overflow=0, hide_parameters=True, **pool
    )


def _file(url: URL) -> Path:
    """Return the file a URL names, for a database in memory forgets, and a query could change how it is opened."""
    name = url.database or ":memory:"
    if name == ":memory:" or name.startswith("file:") or url.query:
        raise StorageRefused("database", url.render_as_string(), "name a file: sqlite:///var/onrecord.db")
    return Path(name).absolute()


def _hold(file: Path) -> IO[bytes]:
    """Lock the pen of this file for this process; the kernel lets go when the process dies."""
    try:
        lock = file.with_name(file.name + ".pen").open("ab")
    except OSError as error:  # a file system that became read-only may be writable again
        raise sqlite3.OperationalError(f"the pen's lock cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StorageRefused("pen", "held", "another process writes this database: stop it first") from None
    return lock


def _set(connection: sqlite3.Connection, settings: Iterable[tuple[str, str, object]]) -> sqlite3.Connection:
    """Set every pragma and read it back: SQLite answers a pragma it cannot obey with silence."""
    with ExitStack() as undone:
        undone.callback(connection.close)
        for pragma, wanted, expected in settings:
            connection.execute(f"PRAGMA {pragma} = {wanted}")
            (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
            if found != expected:
                raise StorageRefused(pragma, found, f"it must be {wanted}; this file system may not allow it")
        undone.pop_all()
    return connection


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock first: a transaction that reads and then writes can fail at once, without waiting."""
    driver.run(connection, "BEGIN IMMEDIATE")
