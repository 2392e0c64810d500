"""What witnesses said of checkpoints.

Why: a cosigned checkpoint shows that the ledger's owner had not rewritten it by the time that is stated in it; later
receipts carry it. Nothing of it is needed to grow the ledger.
Locks: none that matter, the table is new.
Old code meanwhile: does not look at it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SIZE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "cosignature",
        sa.Column("size", SIZE, primary_key=True, autoincrement=False),
        sa.Column("witness", sa.Text(), primary_key=True),
        sa.Column("line", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    """Drop the table: what witnesses have seen, they still know."""
    op.drop_table("cosignature")
