"""The shape of the database: what is read under our names are our tables, and nothing stands in front of them.

A view, a rule, a policy or a second table of the same name could show one thing to whoever verifies and another to
whoever asks; a trigger could change what is written. Triggers that are missing are no finding: they keep accidents out,
and what an accident changed is found in the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, text

from db.tables import metadata

_REFUSES = (
    "BEGIN SELECT RAISE(ABORT, 'record is append-only'); END"  # all that a trigger of ours does on SQLite
)
_BODIES = {  # and on PostgreSQL: the functions of migrations 0001 and 0003
    "record_is_append_only": "BEGIN RAISE EXCEPTION 'record is append-only'; END",
    "record_only_forgets": "BEGIN OLD.client_id := ''; IF NEW IS DISTINCT FROM OLD THEN"
    " RAISE EXCEPTION 'record is append-only'; END IF; RETURN NEW; END",
}
_SQLITE_MASTER = text("SELECT type, name, sql FROM sqlite_master")
_SQLITE_COLUMNS = text("SELECT name, type, hidden FROM pragma_table_xinfo(:name)")
_RELATION = text(
    "SELECT relkind, relrowsecurity OR relforcerowsecurity AS is_guarded,"
    " EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = c.oid) AS has_policies,"
    " EXISTS (SELECT 1 FROM pg_rewrite WHERE ev_class = c.oid) AS has_rules,"
    " EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = c.oid) AS has_children"
    " FROM pg_class c WHERE c.oid = to_regclass(:name)"
)
_COLUMNS = text(
    "SELECT attname, format_type(atttypid, atttypmod), attgenerated::text AS is_made FROM pg_attribute"
    " WHERE attnum > 0 AND NOT attisdropped AND attrelid = to_regclass(:name)"
)
_TRIGGERS = text(
    "SELECT t.tgname, p.proname, p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
    " WHERE NOT t.tgisinternal AND t.tgrelid = to_regclass(:name)"
)
_PIN = text(
    "SELECT set_config('search_path', quote_ident(n.nspname), true) FROM pg_class c"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('head')"
)
# Where somebody's search_path could lead to: this session's, those set for roles and databases, "$user".
_SHADOWS = text(
    "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relname = :name AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> current_schema()"
    " AND (position(n.nspname IN (SELECT reset_val FROM pg_settings WHERE name = 'search_path')) > 0"
    "  OR n.nspname IN (SELECT rolname FROM pg_roles)"
    "  OR EXISTS (SELECT 1 FROM pg_db_role_setting s, unnest(s.setconfig) AS setting"
    "   WHERE starts_with(setting, 'search_path=') AND position(n.nspname IN setting) > 0))"
)


def pin(connection: Connection) -> None:
    """Let our names mean the tables of one schema, and the server's own names its own, until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(_PIN)


def differences(connection: Connection) -> Iterator[str]:
    """Say in what the shape of the database is not that of db/tables.py."""
    if connection.dialect.name == "sqlite":
        yield from _sqlite(connection)
        return
    for name in metadata.tables:
        yield from _postgresql(connection, name)


def _sqlite(connection: Connection) -> Iterator[str]:
    found = connection.execute(_SQLITE_MASTER).all()
    for kind, name, sql in found:
        if kind == "view":
            yield f"{name} is a view: it could hide a table"
        if kind == "trigger" and not (sql.endswith(_REFUSES) and sql.upper().count("BEGIN") == 1):
            yield f"trigger {name} does something else than to refuse"
    created = {name: sql for kind, name, sql in found if kind == "table"}
    for name in metadata.tables:
        if not str(created.get(name)).upper().startswith("CREATE TABLE "):
            yield f"{name} is no table"
            continue
        columns = connection.execute(_SQLITE_COLUMNS, {"name": name})
        yield from _columns(connection, name, {each: (kind, hidden) for each, kind, hidden in columns})


def _postgresql(connection: Connection, name: str) -> Iterator[str]:
    relation = connection.execute(_RELATION, {"name": name}).one_or_none()
    if relation is None or relation.relkind not in ("r", "p"):
        yield f"{name} is no table"
        return
    if relation.is_guarded or relation.has_policies:
        yield f"{name} has row security: it could hide rows"
    if relation.has_rules:
        yield f"{name} has rules: they could show something else"
    if relation.has_children:
        yield f"{name} has tables that inherit from it: their rows are shown among its own"
    for trigger, function, body in connection.execute(_TRIGGERS, {"name": name}):
        if " ".join(body.split()) != _BODIES.get(function):
            yield f"trigger {trigger} of {name} does something else than to refuse"
    for schema in connection.scalars(_SHADOWS, {"name": name}):
        yield f"{schema}.{name} could be read in its place"
    columns = connection.execute(_COLUMNS, {"name": name})
    yield from _columns(connection, name, {each: (kind, is_made) for each, kind, is_made in columns})


def _columns(connection: Connection, name: str, found: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    expected = {
        column.name: column.type.compile(connection.dialect) for column in metadata.tables[name].columns
    }
    for column in sorted(expected.keys() | found.keys()):
        declared, is_made = found.get(column, (None, None))
        if declared is None or column not in expected:
            yield f"{name}.{column} is {'missing' if declared is None else 'no column of ours'}"
        elif is_made or str(declared).upper() != expected[column].upper():
            yield f"{name}.{column} is {'computed' if is_made else declared}, not {expected[column]}"
