"""Records of verifications are found without reading all records.

Why: the newest few of them are asked for, and there are very few among very many records. The index holds only them, so
appending anything else costs nothing.
Locks: on PostgreSQL, writes to `record` while the index is built, which reads the table once: some seconds for ten
million records.
Old code meanwhile: does not know the index; it refuses to read a record of a kind it does not know, so upgrade every
engine and every place that verifies before the first verification is recorded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    only = sa.text("kind = 14")
    op.create_index("record_of_verification", "record", ["idx"], sqlite_where=only, postgresql_where=only)


def downgrade() -> None:
    """Drop it, where no verification is on record: older code could not read it."""
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM record WHERE kind = 14")):
        raise RuntimeError("verifications are on record: older code cannot read them")
    op.drop_index("record_of_verification", "record")
