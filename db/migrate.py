"""Bringing a database to the schema of this code, and refusing to serve on any other.

Who serves only asks for two numbers; what migrates is imported where something is migrated. It takes 10 MB.
"""

from pathlib import Path

from sqlalchemy import column, inspect, select, table

from db.engine import StorageUnavailable, open_pen, open_reader, reading

_MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_AT = table("alembic_version", column("version_num"))
_PATIENCE_S = 3600.0  # an index on ten million records takes minutes, and nobody is being answered meanwhile


class SchemaMismatch(Exception):
    """The database is behind this code, or ahead of it."""

    def __init__(self, found: str | None, expected: str) -> None:
        if found is None:
            super().__init__("the database has no tables yet: run python -m api setup")
        else:
            super().__init__(
                f"the database is at revision {found}, this code needs {expected}: "
                "run python -m api migrate with the newer of the two releases"
            )
        self.found = found
        self.expected = expected


def upgrade(url: str) -> None:
    """Apply every migration that is missing, all or none; a database that is up to date stays as it is.

    Raises:
        StorageRefused: the database cannot keep what the ledger promises, or an engine is writing to it.
        StorageUnavailable: there is no database server.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    engine = open_pen(url, _PATIENCE_S)
    try:
        with engine.connect() as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def current(url: str) -> str | None:
    """Return the revision the database is at; None for an empty one, or a file that is not there yet."""
    engine = open_reader(url)
    try:
        with reading(engine) as connection:
            if not inspect(connection).has_table(_AT.name):
                return None
            return connection.scalars(select(_AT.c.version_num)).one_or_none()
    except StorageUnavailable:
        if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
            return None
        raise
    finally:
        engine.dispose()


def head() -> str:
    """Return the newest revision this code knows: files are numbered in the order of migrations."""
    numbers = [path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")]
    if not numbers:
        raise RuntimeError(f"no migrations in {_MIGRATIONS}: the installation is incomplete")
    return max(numbers)


def check(url: str) -> None:
    """Raise SchemaMismatch unless the database is exactly at head()."""
    found, expected = current(url), head()
    if found != expected:
        raise SchemaMismatch(found, expected)
