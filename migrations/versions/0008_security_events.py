"""Security events: attempts that were denied, and tokens that were given.

Why: who tried what, and was refused, must be found again; the log of a process is not that place.
Locks: none that matter, the table is new.
Old code meanwhile: does not look at it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "security_event",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("client_id", sa.Text()),
        sa.Column("jti", sa.Text()),
        sa.Column("verified_signature", sa.Boolean()),
        sa.Column("claimed_kid", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.Column("operation", sa.Text()),
        sa.Column("target", sa.Text()),
        sa.Column("needed", sa.Text()),
        sa.Column("held", sa.Text()),
        sa.Column("body_bytes", sa.BigInteger()),
        sa.Column("body_sha256", sa.Text()),
        sa.Column("request", sa.Text()),
        sa.Column("suppressed", sa.BigInteger()),
    )
    op.create_index("security_event_by_time", "security_event", ["at_us"])
    op.create_index("security_event_by_kind", "security_event", ["kind", "id"])
    op.create_index("security_event_by_client", "security_event", ["client_id", "id"])


def downgrade() -> None:
    """Drop the table: what it holds is no part of the ledger."""
    op.drop_table("security_event")
