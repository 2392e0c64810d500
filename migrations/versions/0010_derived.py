"""Which record was made from which: a replay from its original, an outcome from its prediction.

Why: what repeats a prediction has to go when that is erased, and to stay while that is held. Replays that are on record
already are led back to their originals by what their payload says; where that was erased, nothing can be said.
Locks: none that matter, the table is new; every recorded replay is read.
Old code meanwhile: its replays have no row, which verification finds; upgrade both.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

REPLAY = 4
AT_ONCE = 50  # an answer that was replayed may have megabytes
ID = sa.Uuid().with_variant(sa.LargeBinary(16), "sqlite")
RECORD = sa.table("record", sa.column("idx"), sa.column("id", ID), sa.column("kind"))
PAYLOAD = sa.table("payload", sa.column("record_id", ID), sa.column("output"), sa.column("meta"))


def upgrade() -> None:
    """Create the table, and fill it from the replays there are."""
    derived = op.create_table(
        "derived",
        sa.Column(
            "idx",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("of_idx", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer()),
    )
    op.create_index("derived_of", "derived", ["of_idx", "position", "idx"])
    connection = op.get_bind()
    for replays in _replays(connection):
        rows = [
            {"idx": each.idx, "of_idx": of}
            for each in replays
            if (of := _original(connection, each)) is not None
        ]
        if rows:
            connection.execute(derived.insert(), rows)


def downgrade() -> None:
    """Drop the table: older code erases what it is told to, and nothing along with it."""
    op.drop_table("derived")


def _replays(connection: sa.Connection) -> Iterator[list[Any]]:
    after = -1
    query = (
        sa.select(RECORD.c.idx, PAYLOAD.c.output, PAYLOAD.c.meta)
        .join(PAYLOAD, PAYLOAD.c.record_id == RECORD.c.id)
        .where(RECORD.c.kind == REPLAY, RECORD.c.idx > sa.bindparam("after"))
        .order_by(RECORD.c.idx)
        .limit(AT_ONCE)
    )
    while rows := list(connection.execute(query, {"after": after})):
        yield rows
        after = rows[-1].idx


def _original(connection: sa.Connection, replay: Any) -> int | None:
    """Find the place of what was replayed; both the answer and the meta name it, and either may be erased."""
    for content, name in ((replay.output, "record"), (replay.meta, "replays")):
        if content:
            of = uuid.UUID(json.loads(bytes(content))[name])
            key = of.bytes if connection.dialect.name == "sqlite" else of
            found: int | None = connection.scalar(sa.select(RECORD.c.idx).where(RECORD.c.id == key))
            return found
    return None
