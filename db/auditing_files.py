"""What only a whole reading shows: whether pages are sound, and whether indexes know every row of their tables.

On SQLite its own check reads every page and holds each index against its table. On PostgreSQL rows are counted without
any index, so that one which lost some shows where the walk used it; whether an index that only lookups use is whole is
for `amcheck` to say.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

_SAID = 20  # complaints of SQLite that are repeated
_SCAN = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")


def complaints(connection: Connection) -> Iterator[str]:
    """Let SQLite read its whole file and say what is wrong with it; PostgreSQL checks pages as they are read."""
    if connection.dialect.name == "sqlite":
        said = connection.exec_driver_sql(f"PRAGMA integrity_check({_SAID})").scalars().all()
        yield from (each for each in said if each != "ok")


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
