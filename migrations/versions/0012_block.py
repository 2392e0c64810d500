"""What was predicted once more, by columns: derived data, from which metrics over a million predictions are computed.

Why: reading a million payloads takes half a minute, reading their columns a fraction of a second.
Locks: none but the catalogue's; the table is new and empty, the engine fills it in the background.
Old code meanwhile: it does not know the table, and erases without deleting blocks: run no older engine beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "block",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("start", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.Text(), primary_key=True),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    op.create_index("block_by_start", "block", ["start"])


def downgrade() -> None:
    """Drop it: all of it can be made again."""
    op.drop_table("block")
