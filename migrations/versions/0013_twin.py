"""Since when a version's twin may no longer answer.

Why: a twin that was caught giving another answer than its pickle stays off, on every host and over restarts, until an
operator lets it answer again. Derived from records, and verified against them.
Locks: `version` for an instant; no row is written.
Old code meanwhile: it answers from pickles only.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty."""
    op.add_column("version", sa.Column("twin_off_at_us", sa.BigInteger()))


def downgrade() -> None:
    """Drop it: the records of the changes keep what it held."""
    op.drop_column("version", "twin_off_at_us")
