"""The tree: a leaf for every record, the secrets that open them, tiles, notes, and a head that can be sealed.

Why: from here on the ledger is tamper-evident. Records that are there get leaves with fresh secrets, in the order in
which they stand; nothing vouches for them but that they cannot change from now on. The head stays unsealed: that needs
keys, which no migration has, so `python -m api setup` or `migrate` does it right afterwards.
Locks: every row of record and payload is written once; about a minute for a million records, with the pen held.
Old code meanwhile: none; it would insert records without leaves, which SQLite would let it, and verify would find.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from db.records import SECRET_BYTES, Kind, Record, leaf
from db.tree import TILE_WIDTH, Frontier, leaf_hash

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.Uuid().with_variant(sa.LargeBinary(16), "sqlite")
IDX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PAGE = 4 * TILE_WIDTH  # whole tiles, so that only the last page leaves one that is not full

# Only UPDATE has to be let through, and only while this migration runs.
CLOSED = {
    "sqlite": "CREATE TRIGGER record_forbids_update BEFORE UPDATE ON record"
    " BEGIN SELECT RAISE(ABORT, 'record is append-only'); END",
    "postgresql": "ALTER TABLE record ENABLE TRIGGER record_forbids_change",
}
OPENED = {
    "sqlite": "DROP TRIGGER record_forbids_update",
    "postgresql": "ALTER TABLE record DISABLE TRIGGER record_forbids_change",
}
RECORDS = sa.text(
    "SELECT record.*, payload.input, payload.output, payload.actor, payload.meta FROM record"
    " JOIN payload ON payload.record_id = record.id WHERE idx >= :start AND idx < :stop ORDER BY idx"
)


def upgrade() -> None:
    """Add what the tree needs and grow it over what is there."""
    op.create_table(
        "tile",
        sa.Column("level", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("idx", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "note",
        sa.Column("size", IDX, primary_key=True, autoincrement=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
    )
    dialect = op.get_bind().dialect.name
    empty = sa.text("x''" if dialect == "sqlite" else "''")  # '' would be text to SQLite
    op.execute(OPENED[dialect])
    op.add_column("record", sa.Column("leaf", sa.LargeBinary(220), nullable=False, server_default=empty))
    op.add_column("payload", sa.Column("secret", sa.LargeBinary(32), nullable=False, server_default=empty))
    for name in ("root", "frontier", "mac"):
        width = None if name == "frontier" else 32
        op.add_column("head", sa.Column(name, sa.LargeBinary(width), nullable=False, server_default=empty))
    op.add_column("head", sa.Column("origin", sa.Text(), nullable=False, server_default=""))
    op.add_column("head", sa.Column("epoch", sa.Integer(), nullable=False, server_default="0"))
    _grow()
    op.execute(CLOSED[dialect])
    _drop_defaults(dialect)


def downgrade() -> None:
    """Take the tree away, from an empty ledger only: what was proven to somebody stays provable."""
    if op.get_bind().scalar(sa.text("SELECT size FROM head WHERE id = 1")) != 0:
        raise RuntimeError("the ledger is not empty: records are never dropped by a migration")
    for table, column in ADDED:
        op.drop_column(table, column)
    op.drop_table("note")
    op.drop_table("tile")


ADDED = (
    ("record", "leaf"),
    ("payload", "secret"),
    ("head", "root"),
    ("head", "frontier"),
    ("head", "mac"),
    ("head", "origin"),
    ("head", "epoch"),
)


def _drop_defaults(dialect: str) -> None:
    """They were for the rows that are there; SQLite keeps them, for there it would mean to copy every table."""
    if dialect == "postgresql":
        for table, column in ADDED:
            op.alter_column(table, column, server_default=None)


def _grow() -> None:
    frontier = Frontier()
    higher: dict[tuple[int, int], bytes] = {}
    for rows in _pages():
        leaves = [_backfill(row) for row in rows]
        growth = frontier.append(list(map(leaf_hash, leaves)))
        for span, piece in growth.tiles():
            if span.level:
                higher[span.level, span.index] = higher.get((span.level, span.index), b"") + piece
            elif span.width == TILE_WIDTH:
                _insert_tile(0, span.index, piece)
        frontier = growth.after
    for (level, index), hashes in higher.items():
        _insert_tile(level, index, hashes)
    _run(
        "UPDATE head SET root = :root, frontier = :frontier WHERE id = 1",
        root=frontier.root(),
        frontier=frontier.to_bytes(),
    )


def _pages() -> Iterator[list[Any]]:
    size = op.get_bind().scalar(sa.text("SELECT size FROM head WHERE id = 1"))
    for start in range(0, size, PAGE):
        stop = min(start + PAGE, size)
        rows = list(op.get_bind().execute(RECORDS, {"start": start, "stop": stop}).mappings())
        if [row["idx"] for row in rows] != list(range(start, stop)):
            raise RuntimeError(f"records {start} to {stop - 1} are not all there: restore a backup first")
        yield rows


def _backfill(row: Any) -> bytes:
    """Give one record its secret and its leaf."""
    secret = os.urandom(SECRET_BYTES)
    made = leaf(_record(row), secret)
    _run("UPDATE record SET leaf = :leaf WHERE idx = :idx", leaf=made, idx=row["idx"])
    where = sa.text("UPDATE payload SET secret = :secret WHERE record_id = :id")
    where = where.bindparams(sa.bindparam("id", type_=ID), sa.bindparam("secret", type_=sa.LargeBinary()))
    op.get_bind().execute(where, {"secret": secret, "id": row["id"]})
    return made


def _record(row: Any) -> Record:
    raw_id = row["id"]
    names = ("observed_at_us", "client_id", "model", "version", "digest", "status")
    payload = {name: bytes(row[name]) for name in ("input", "output", "actor", "meta")}
    return Record(
        id=UUID(bytes=raw_id) if isinstance(raw_id, bytes) else raw_id,
        kind=Kind(row["kind"]),
        **{name: row[name] for name in names},
        **payload,
    )


def _insert_tile(level: int, index: int, hashes: bytes) -> None:
    _run("INSERT INTO tile VALUES (:level, :idx, :hashes)", level=level, idx=index, hashes=hashes)


def _run(statement: str, **values: Any) -> None:
    op.get_bind().execute(sa.text(statement), values)
