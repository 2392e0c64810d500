"""Scores of large requests are indexed by request first.

Why: each of ten thousand scores was another page of one index, more than half of what recording them took in a
ledger of a million predictions. From position 1,000 on they are in an index that begins with the request, whose pages
are its own.
Locks: on PostgreSQL, writes to `prediction` while three indexes are built, which reads the table as often: some seconds
for each million of predictions, on SQLite as well. The table itself is not written.
Old code meanwhile: finds the same by scores as before, but slowly, for it does not name the indexes' conditions.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_BY_SCORE = ["client_id", "score", "idx", "position"]


def upgrade() -> None:
    """Put what is beyond the first thousand rows of a request into an index of another order."""
    op.drop_index("prediction_by_score", "prediction")
    _index("prediction_by_score", _BY_SCORE, "position < 1000")
    _index("prediction_in_large", ["client_id", "idx", "score", "position"], "position >= 1000")
    _index("prediction_of_large", ["client_id", "idx"], "position = 1000")


def downgrade() -> None:
    """Put all into one index again: no record is lost."""
    for name in ("prediction_by_score", "prediction_in_large", "prediction_of_large"):
        op.drop_index(name, "prediction")
    op.create_index("prediction_by_score", "prediction", _BY_SCORE)


def _index(name: str, columns: list[str], only: str) -> None:
    where = sa.text(only)
    op.create_index(name, "prediction", columns, sqlite_where=where, postgresql_where=where)
