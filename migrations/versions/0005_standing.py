"""Revoked tokens, and the time from which a client's tokens count again.

Why: a stolen token must not live as long as its signature. Both are derived from records, and verified against them.
Locks: `client` for a moment; no row is written.
Old code meanwhile: it goes on believing what newer code has revoked, so upgrade the doors first or together.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of revoked tokens and one column to clients."""
    op.create_table(
        "revoked_token",
        sa.Column("jti", sa.Text(), primary_key=True),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_us", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_revoked_token_expires_at_us", "revoked_token", ["expires_at_us"])
    op.add_column("client", sa.Column("not_before_us", sa.BigInteger()))


def downgrade() -> None:
    """Go back only where nothing was revoked: older code would believe those tokens again."""
    tokens = "SELECT count(*) FROM revoked_token"
    clients = "SELECT count(*) FROM client WHERE not_before_us IS NOT NULL"
    if any(op.get_bind().scalar(sa.text(query)) for query in (tokens, clients)):
        raise RuntimeError("tokens were revoked: older code would believe them again")
    op.drop_column("client", "not_before_us")
    op.drop_table("revoked_token")
