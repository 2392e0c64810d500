"""Tables come to be through migrations only, and a service never runs on another schema than its own."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from db import migrate
from db.engine import StorageUnavailable, open_pen, open_reader, reading
from db.records import Record
from db.tables import metadata
from tests import ledgers, sealed
from tests.ledgers import predicted, writing
from tests.postgres import Postgres, plain
from tests.service import ROOT


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty database."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database()
    return f"sqlite:///{tmp_path}/ledger.db"


def sql(url: str, statement: str) -> None:
    """Run one statement past everything of ours."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            file.execute(statement)
        file.close()
    else:
        with psycopg.connect(plain(url)) as server:
            server.execute(statement.encode())


def alembic(url: str, step: str, go: Callable[[Config, str], None] = command.downgrade) -> None:
    """Let Alembic itself go down, or up, as a person at its command line would."""
    engine = open_pen(url)
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent.parent / "migrations"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            go(config, step)
    finally:
        engine.dispose()


def differences(connection: Connection) -> list[Any]:
    """Compare what is there with db.tables; alembic's own table is not ours."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_upgrading_an_empty_database_gives_the_tables_of_the_code(url: str) -> None:
    """After the migrations, no table, column, type or index differs from db.tables."""
    migrate.upgrade(url)

    engine = open_reader(url)
    with reading(engine) as connection:
        found = differences(connection)
    engine.dispose()
    assert found == []


def test_a_difference_would_be_seen(url: str) -> None:
    """The comparison is not blind: a missing index, a missing column and another type are each found."""
    migrate.upgrade(url)
    sql(url, "DROP INDEX prediction_by_label")
    sql(url, "ALTER TABLE version DROP COLUMN registered_at_us")

    engine = open_reader(url)
    with reading(engine) as connection:
        found = {str(each[0]) for each in differences(connection)}
    engine.dispose()

    assert found == {"add_index", "add_column"}


def test_upgrading_twice_changes_nothing(url: str) -> None:
    """A database that is up to date stays at the same revision."""
    migrate.upgrade(url)
    migrate.upgrade(url)

    assert migrate.head() == migrate.current(url)


def test_an_empty_database_is_refused_with_the_command_that_helps(url: str) -> None:
    """A database without tables is behind: the refusal names both revisions and the command."""
    with pytest.raises(migrate.SchemaMismatch, match=r"no tables yet.*python -m api setup"):
        migrate.check(url)


def test_a_database_that_is_ahead_is_refused(url: str) -> None:
    """Older code does not run on a newer schema."""
    migrate.upgrade(url)
    sql(url, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(migrate.SchemaMismatch, match=f"9999.*needs {migrate.head()}"):
        migrate.check(url)


def test_a_database_at_the_right_revision_is_accepted(url: str) -> None:
    """After an upgrade there is nothing to complain about."""
    migrate.upgrade(url)

    migrate.check(url)


def test_the_newest_file_is_the_last_of_the_chain() -> None:
    """Who serves goes by the numbers of files, who migrates by what is written in them: both mean the same."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    chain = list(ScriptDirectory.from_config(config).walk_revisions())
    numbers = [Path(each.path).name.partition("_")[0] for each in chain]

    assert [each.revision for each in chain] == numbers == sorted(numbers, reverse=True)
    assert numbers[0] == migrate.head()


def test_who_serves_imports_nothing_that_migrates() -> None:
    """Ten megabytes and a tenth of a second in the engine, for two numbers."""
    code = "import sys, api.engine.process; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_missing_file_is_an_empty_database(tmp_path: Path) -> None:
    """Asking for the revision of a file that is not there creates nothing."""
    assert migrate.current(f"sqlite:///{tmp_path}/none.db") is None
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_not_an_empty_database(tmp_path: Path) -> None:
    """No PostgreSQL is a failure, never "no revision yet"."""
    with pytest.raises(StorageUnavailable):
        migrate.current(f"postgresql+psycopg://postgres@/x?host={tmp_path}")


def test_a_ledger_with_records_refuses_to_downgrade(url: str) -> None:
    """What was answered for is never dropped by a migration."""
    migrate.upgrade(url)
    sql(url, "UPDATE head SET size = 1")

    with pytest.raises(RuntimeError, match="never dropped"):
        alembic(url, "base")
    assert migrate.current(url) == migrate.head()


def test_an_empty_ledger_can_be_taken_down_and_up_again(url: str) -> None:
    """Without records, going down leaves nothing behind that would be in the way of going up."""
    migrate.upgrade(url)
    alembic(url, "base")
    migrate.upgrade(url)

    assert migrate.current(url) == migrate.head()


def test_a_migration_that_fails_leaves_the_database_as_it_was(url: str) -> None:
    """All of an upgrade happens or nothing does."""
    sql(url, "CREATE TABLE alias (in_the_way INTEGER)")

    with pytest.raises(Exception, match="alias"):
        migrate.upgrade(url)

    engine = open_reader(url)
    with reading(engine) as connection:
        tables = MigrationContext.configure(connection)
        assert tables.get_current_revision() is None
        assert not connection.dialect.has_table(connection, "head")
    engine.dispose()


def store_as_0001_did(url: str, count: int) -> list[Record]:
    """Store records with the columns there were before the tree."""
    records = [predicted(at_us=ledgers.NOON_US + at) for at in range(count)]
    for at, each in enumerate(records):
        key = each.id.bytes if url.startswith("sqlite") else each.id
        columns = (each.observed_at_us, each.client_id, each.model, each.version, each.digest, each.status)
        sealed.sql(url, "INSERT INTO record VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?)", at, key, *columns)
        payload = (each.input, each.output, each.actor, each.meta)
        sealed.sql(url, "INSERT INTO payload VALUES (?, ?, ?, ?, ?)", key, *payload)
    latest = ledgers.NOON_US + count - 1
    sealed.sql(url, "UPDATE head SET size = ?, latest_us = ?", count, latest)
    return records


@pytest.mark.parametrize("count", [0, 1, 300])
def test_records_from_before_the_tree_get_their_leaves(url: str, count: int) -> None:
    """Migrating a ledger with records gives each a leaf and a secret; sealed, it proves them and goes on growing."""
    alembic(url, "0001", command.upgrade)
    records = store_as_0001_did(url, count)
    migrate.upgrade(url)
    ledgers.seal(url)

    sealed.check_all(url)
    with writing(url) as ledger:
        sealed.check(
            ledger.append(records), records
        )  # appended again: the same records, proven by stored tiles
        more = [predicted() for _ in range(300)]
        sealed.check(ledger.append(more), more)
    sealed.check_all(url)


def test_after_migrating_records_cannot_be_changed_again(url: str) -> None:
    """What the migration opened for itself is closed behind it."""
    alembic(url, "0001", command.upgrade)
    store_as_0001_did(url, 2)
    migrate.upgrade(url)

    for statement in ("UPDATE record SET status = 200", "DELETE FROM record"):
        with pytest.raises((sqlite3.IntegrityError, psycopg.Error), match="append-only"):
            sql(url, statement)


def test_a_ledger_with_a_gap_is_not_migrated(url: str) -> None:
    """Leaves are not made for a history in which a record is missing."""
    alembic(url, "0001", command.upgrade)
    store_as_0001_did(url, 3)
    sql(url, "UPDATE head SET size = 4")

    with pytest.raises(RuntimeError, match="not all there"):
        migrate.upgrade(url)
    assert migrate.current(url) == "0001"
