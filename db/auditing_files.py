"""What only a whole reading shows: whether pages are sound, and whether indexes know every row of their tables.

On SQLite its own check reads every page and holds each index against its table: a fifth of the work, so where several
processes share that, it goes on beside them, in a moment of its own. On PostgreSQL rows are counted without any index,
so that one which lost some shows where the walk used it; whether an index that only lookups use is whole is for
`amcheck` to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, text

from db.engine import reading

_SAID = 20  # complaints of SQLite that are repeated
_SCAN = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")


@contextmanager
def complaints(engine: Engine, moment: Connection, processes: int) -> Iterator[Future[list[str]]]:
    """Let SQLite read its whole file and say what is wrong with it; PostgreSQL checks pages as they are read.

    Raises:
        StorageUnavailable: it cannot be read; where it is read beside, the future raises SQLAlchemyError.
    """
    if moment.dialect.name != "sqlite" or processes == 1:
        known: Future[list[str]] = Future()
        known.set_result(_complaints(moment) if moment.dialect.name == "sqlite" else [])
        yield known
        return
    with reading(engine) as own, ThreadPoolExecutor(1) as beside:
        file: Any = own.connection.driver_connection
        try:
            yield beside.submit(_complaints, own)
        finally:
            file.interrupt()  # whoever was cut off does not wait for it


def _complaints(connection: Connection) -> list[str]:
    said = connection.exec_driver_sql(f"PRAGMA integrity_check({_SAID})").scalars().all()
    return [each for each in said if each != "ok"]


def counts(connection: Connection, tables: tuple[str, ...]) -> dict[str, int]:
    """Count the rows of tables by reading the tables."""
    if connection.dialect.name == "postgresql":
        for setting in _SCAN:
            connection.exec_driver_sql(f"SET LOCAL {setting} = off")
    counted = {
        name: int(connection.scalars(text(f"SELECT count(*) FROM {name}")).one())  # noqa: S608  # our own names
        for name in tables
    }
    if connection.dialect.name == "postgresql":
        for setting in _SCAN:
            connection.exec_driver_sql(f"SET LOCAL {setting} TO DEFAULT")
    return counted
