"""${message}.

Why: …
Locks: … (which tables, for how long, on a ledger of ten million records)
Old code meanwhile: … (what a door or an engine of the previous release sees; additive first, removal a release later)
"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """…"""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Undo it only where no record is lost."""
    ${downgrades if downgrades else "pass"}
