"""Statements of the hot path: SQLAlchemy writes them once, the driver alone runs them.

What SQLAlchemy does around a statement (find it, a context, events, a result) costs ten times what SQLite does for it
where a group is one record. Errors stay SQLAlchemy's, so nobody above has to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import ClauseElement


class Prepared:
    """One statement whose parameters are given by name, as raw values: no type of a column is asked to convert them."""

    __slots__ = ("_statement", "_written")

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._written: dict[str, tuple[str, dict[str, Any]]] = {}  # by database

    def run(self, connection: Connection, **values: Any) -> Any:
        """Run it and return the driver's cursor; raises SQLAlchemyError."""
        dialect = connection.dialect
        text, fixed = self._written.get(dialect.name) or self._write(dialect)
        return run(connection, text, fixed | values)

    def _write(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        style = "named" if dialect.name == "sqlite" else "pyformat"
        named: Callable[..., Dialect] = type(dialect)
        compiled = self._statement.compile(dialect=named(paramstyle=style))
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._written[dialect.name] = written = (str(compiled), fixed)
        return written


def run(connection: Connection, text: str, values: Mapping[str, Any] | Sequence[Any] | None = None) -> Any:
    """Run a statement as it is and return the driver's cursor; raises SQLAlchemyError."""
    driver = connection.dialect.dbapi
    assert driver is not None, "a connection has a driver"
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, *(() if values is None else (values,)))
    except driver.Error as error:
        raise DBAPIError.instance(text, None, error, driver.Error, dialect=connection.dialect) from error
    return cursor
