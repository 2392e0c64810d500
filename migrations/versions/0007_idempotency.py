"""Keys of requests, so that a request that is sent again makes no second record.

Why: who lost an answer sends the request again with the same Idempotency-Key and gets the answer that is on record.
Locks: none that matter, the table is new.
Old code meanwhile: does not look at it, and makes a second record of a request that is sent again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "idempotency",
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("record_idx", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=False),
    )
    op.create_index("idempotency_by_expiry", "idempotency", ["expires_at_us"])


def downgrade() -> None:
    """Drop the table: older code knows no keys."""
    op.drop_table("idempotency")
