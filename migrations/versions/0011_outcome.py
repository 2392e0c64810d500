"""What is known to have happened: for each prediction the newest report of it.

Why: what was predicted is compared with what came true; every report is a record, and this is where the newest one is
found without reading them all. Derived from records, and verified against them.
Locks: none that matter, the table is new.
Old code meanwhile: it knows no outcomes, and its verification would find them; upgrade both.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "outcome",
        sa.Column("prediction_idx", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("outcome_idx", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text()),
        sa.Column("number", sa.Double()),
        sa.Column("observed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("reported_at_us", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("outcome_by_record", "outcome", ["outcome_idx"])


def downgrade() -> None:
    """Go back only where nothing was reported: older code would call an outcome a row of lookups that was changed."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM outcome")):
        raise RuntimeError("outcomes were reported: older code cannot verify them")
    op.drop_table("outcome")
