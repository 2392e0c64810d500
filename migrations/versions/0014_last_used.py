"""When a client last used the service.

Why: an operator who wonders whether a client can go asks when it was last here, not when it last predicted.
Locks: `client` for an instant; the newest token that each was given is put in, as far as security events tell.
Old code meanwhile: it does not know the column; what it sees is not kept.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and say what is known."""
    op.add_column("client", sa.Column("last_used_at_us", sa.BigInteger()))
    op.execute(
        "UPDATE client SET last_used_at_us = (SELECT MAX(at_us) FROM security_event "
        "WHERE security_event.client_id = client.client_id AND kind = 'token-issued')"
    )


def downgrade() -> None:
    """Drop it: it is on no record, and comes back with use."""
    op.drop_column("client", "last_used_at_us")
