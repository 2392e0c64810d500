"""The digest of a version's manifest, beside that of its pickle.

Why: the manifest says which golden answers a version must give and which names its pickle may use, so whoever could
exchange it unnoticed could loosen both. Versions registered before have none: they are refused until they are
registered again, which `python -m api setup` does; what is bound from then on is what the store holds at that moment.
Locks: `version` for an instant; it has a row per version.
Old code meanwhile: none; it would register versions without it, which are then refused by name.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty."""
    op.add_column("version", sa.Column("manifest", sa.Text()))


def downgrade() -> None:
    """Drop it: the records of the registrations keep what it held."""
    op.drop_column("version", "manifest")
