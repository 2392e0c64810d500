"""The public keys of a client, by which it is known without a secret.

Why: a secret can be stolen where it is stored or sent; a private key never leaves its client. Derived from records, and
verified against them.
Locks: `client` for an instant; no row is written.
Old code meanwhile: it knows clients by their secrets only; one that has none gets no token from it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty."""
    op.add_column("client", sa.Column("jwks", sa.Text()))


def downgrade() -> None:
    """Drop it: the records of the changes keep what it held."""
    op.drop_column("client", "jwks")
