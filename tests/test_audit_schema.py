"""What stands in front of the tables, or under them, is found: other shapes, other tables, broken pages."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from api.outside import TAMPERED, exit_code
from db.audit import How
from db.auditing import Cause
from db.auditing_resume import Reached
from db.engine import StorageUnavailable
from tests.ledgers import DATABASES
from tests.postgres import name_of
from tests.tampering import SIZE, Copies, Rigged

POSTGRESQL = {
    "a view": "ALTER TABLE record RENAME TO real; CREATE VIEW record AS SELECT * FROM real",
    "row security": "ALTER TABLE record ENABLE ROW LEVEL SECURITY",
    "a policy": "CREATE POLICY p ON record USING (idx <> 7)",
    "a rule": "CREATE RULE r AS ON INSERT TO note DO INSTEAD NOTHING",
    "a trigger": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN NEW.leaf := OLD.leaf; RETURN NEW; END $$;"
    " CREATE TRIGGER t BEFORE INSERT ON record FOR EACH ROW EXECUTE FUNCTION f()",
    "a trigger of ours that does nothing": "CREATE OR REPLACE FUNCTION record_is_append_only() RETURNS trigger"
    " LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    "a child": "CREATE TABLE child () INHERITS (record)",
    "another column": "ALTER TABLE record ADD COLUMN more TEXT",
    "another type": "ALTER TABLE head ALTER COLUMN origin TYPE varchar(200)",
    "a computed column": "ALTER TABLE client DROP COLUMN scope;"
    " ALTER TABLE client ADD COLUMN scope TEXT GENERATED ALWAYS AS (name) STORED",
    "a shadow for one role": "CREATE SCHEMA postgres; CREATE TABLE postgres.note (LIKE public.note)",
    "a shadow on a search_path": "CREATE SCHEMA evil; CREATE TABLE evil.record (LIKE public.record);"
    " CREATE ROLE shadowed; ALTER ROLE shadowed SET search_path = evil, public",
}
SQLITE = {
    "a view": "ALTER TABLE alias RENAME TO real; CREATE VIEW alias AS SELECT * FROM real",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON record BEGIN DELETE FROM note; END",
    "a trigger that refuses, too": "CREATE TRIGGER t BEFORE INSERT ON note WHEN NEW.size > 5 BEGIN DELETE FROM note;"
    " SELECT RAISE(ABORT, 'record is append-only'); END",
    "another column": "ALTER TABLE record ADD COLUMN more TEXT",
    "a computed column": "ALTER TABLE record ADD COLUMN more TEXT AS (model)",
    "another type": "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'origin TEXT', 'origin"
    " BLOB') WHERE name = 'head'; PRAGMA writable_schema = RESET",
    "a table that is none": "CREATE TABLE kept AS SELECT * FROM tile; DROP TABLE tile;"
    " CREATE VIRTUAL TABLE tile USING rtree(level, idx, hashes)",
}  # fmt: skip


@pytest.fixture(scope="module")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Make ledgers to be copied."""
    return Copies(request, tmp_path_factory.mktemp("ledgers"))


def file_of(rigged: Rigged) -> Path:
    """Find the file of a ledger on SQLite, and leave nothing in its write-ahead log."""
    path = Path(rigged.url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.mark.parametrize("name", POSTGRESQL)
def test_what_stands_in_front_of_a_table_is_found_on_postgresql(copies: Copies, name: str) -> None:
    """T15: the rows may all be as they must be; the table is not."""
    rigged = copies.new("postgresql")
    rigged.run(POSTGRESQL[name])

    verdict = rigged.audit()
    assert Cause.SCHEMA in {each.cause for each in verdict.findings}
    assert exit_code(verdict) == TAMPERED


@pytest.mark.parametrize("name", SQLITE)
def test_what_stands_in_front_of_a_table_is_found_on_sqlite(copies: Copies, name: str) -> None:
    """T15: views, triggers, other columns, edits of the schema itself, and tables that are no tables."""
    rigged = copies.new("sqlite")
    with closing(sqlite3.connect(file_of(rigged))) as connection:
        connection.executescript(SQLITE[name])

    assert Cause.SCHEMA in {each.cause for each in rigged.audit().findings}


def test_a_shadow_does_not_fool_who_verifies(copies: Copies) -> None:
    """T15: a sound copy in front of a changed table is named, whichever of the two a role reads."""
    rigged = copies.new("postgresql")
    rigged.run("CREATE SCHEMA evil", "CREATE TABLE evil.record AS SELECT * FROM public.record")
    rigged.run("UPDATE public.record SET status = 500 WHERE idx = 9")
    rigged.run(f"ALTER DATABASE {name_of(rigged.url)} SET search_path = evil, public")

    found = {each.cause for each in rigged.audit().findings}
    assert Cause.SCHEMA in found


@pytest.mark.parametrize("kind", DATABASES)
def test_a_table_that_was_made_again_is_found(copies: Copies, kind: str) -> None:
    """T15: renamed, and recreated with all rows but one: a row is missing, and so is what made it our table."""
    rigged = copies.new(kind)
    rigged.run("ALTER TABLE record RENAME TO kept")
    rigged.run("CREATE TABLE record AS SELECT * FROM kept WHERE idx <> 40")

    found = {each.cause for each in rigged.audit().findings}
    assert Cause.ORDER in found
    assert kind == "postgresql" or Cause.SCHEMA in found


@pytest.mark.parametrize("processes", [1, 2])
def test_an_index_that_lost_a_row_is_found(copies: Copies, processes: int) -> None:
    """T16: a row that only lookups through one index would miss is in the table: the file is broken, and no audit goes
    on from there.
    """
    kept: list[Reached] = []
    rigged = copies.new("sqlite")
    rigged.run(
        "CREATE TABLE other (model TEXT, version TEXT, client_id TEXT, idx INTEGER, position INTEGER)",
        "CREATE INDEX other_by ON other (model, version, client_id, idx, position)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'other_by')"
        " WHERE name = 'prediction_by_version'",
        "DELETE FROM sqlite_master WHERE name = 'other_by'",
        "PRAGMA writable_schema = RESET",
    )

    verdict = rigged.audit(how=How(processes=processes, keep=kept.append))

    assert Cause.FILE in {each.cause for each in verdict.findings}
    assert kept == []


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_of_the_file_are_never_called_sound(copies: Copies, seed: int) -> None:
    """T16: a byte flipped in a page that is in use is a finding or unreadable: never a trace, never sound."""
    rigged = copies.new("sqlite")
    path = file_of(rigged)
    data, chance = bytearray(path.read_bytes()), random.Random(seed)
    at = chance.randrange(4096, len(data))
    while not data[at]:  # room that is in no use may hold anything
        at = chance.randrange(4096, len(data))
    data[at] ^= 0x41
    path.write_bytes(data)

    try:
        verdict = rigged.audit()
    except StorageUnavailable:
        return
    assert exit_code(verdict) == TAMPERED or _is_same(rigged, copies.new("sqlite"))


def _is_same(rigged: Rigged, sound: Rigged) -> bool:
    """Say whether all that can be read is what was there before: the byte was in no use."""
    tables = (
        "record",
        "payload",
        "prediction",
        "head",
        "note",
        "tile",
        "client",
        "client_secret",
        "alias",
        "hold",
    )
    return all(rigged.run(f"SELECT * FROM {each}") == sound.run(f"SELECT * FROM {each}") for each in tables)


@pytest.mark.parametrize("kind", DATABASES)
def test_values_of_another_type_are_findings(copies: Copies, kind: str) -> None:
    """What SQLite lets stand in a column of numbers is named, and breaks nothing."""
    rigged = copies.new(kind)
    if kind == "sqlite":
        for statement in (
            "UPDATE head SET size = 'many', epoch = 'first', frontier = 7",
            "UPDATE record SET observed_at_us = 'noon', kind = 'x', leaf = 'no bytes' WHERE idx = 9",
            "UPDATE record SET status = 2.5 WHERE idx = 10",
            "UPDATE payload SET secret = 7 WHERE record_id = (SELECT id FROM record WHERE idx = 11)",
            "UPDATE erased SET fields = 'all'",
        ):
            rigged.run(statement)
            assert rigged.audit().findings
            assert rigged.audit(how=How(processes=2)).findings
    rigged.run("UPDATE head SET epoch = -1")

    assert rigged.audit().findings


@pytest.mark.parametrize("kind", DATABASES)
def test_a_head_that_states_any_size_does_not_keep_the_audit_busy(copies: Copies, kind: str) -> None:
    """T10: what is missing behind the last record is one finding, however much a head says there is."""
    rigged = copies.new(kind)
    rigged.run(f"UPDATE head SET size = {2**62}")

    assert (SIZE, Cause.ORDER) in {(each.at, each.cause) for each in rigged.audit().findings}
