"""Erasure and legal hold: what is gone, and what must not go.

Why: personal data can be erased without breaking verification. `record` stays append-only but for one thing: an erased
actor is forgotten by its column `client_id`, too, which may become empty and nothing else.
Locks: `record` and its triggers for a moment; no row is written.
Old code meanwhile: it erases nothing; its verification would find what newer code has erased, so upgrade both.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Uuid().with_variant(sa.LargeBinary(16), "sqlite")

REFUSE = "BEGIN SELECT RAISE(ABORT, 'record is append-only'); END"
FIXED = ("idx", "id", "kind", "observed_at_us", "model", "version", "digest", "status", "leaf")
CHANGED = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in FIXED)
FORGETTING = {
    "sqlite": [
        "DROP TRIGGER record_forbids_update",
        "CREATE TRIGGER record_forbids_update BEFORE UPDATE ON record"
        f" WHEN NEW.client_id IS NOT '' OR {CHANGED} {REFUSE}",
    ],
    "postgresql": [
        "DROP TRIGGER record_forbids_change ON record",
        "CREATE FUNCTION record_only_forgets() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN OLD.client_id := '';"
        " IF NEW IS DISTINCT FROM OLD THEN RAISE EXCEPTION 'record is append-only'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER record_forbids_change BEFORE UPDATE ON record"
        " FOR EACH ROW EXECUTE FUNCTION record_only_forgets()",
        "CREATE TRIGGER record_forbids_removal BEFORE DELETE OR TRUNCATE ON record"
        " FOR EACH STATEMENT EXECUTE FUNCTION record_is_append_only()",
    ],
}
REMEMBERING = {
    "sqlite": [
        "DROP TRIGGER record_forbids_update",
        f"CREATE TRIGGER record_forbids_update BEFORE UPDATE ON record {REFUSE}",
    ],
    "postgresql": [
        "DROP TRIGGER record_forbids_removal ON record",
        "DROP TRIGGER record_forbids_change ON record",
        "DROP FUNCTION record_only_forgets",
        "CREATE TRIGGER record_forbids_change BEFORE UPDATE OR DELETE OR TRUNCATE ON record"
        " FOR EACH STATEMENT EXECUTE FUNCTION record_is_append_only()",
    ],
}


def upgrade() -> None:
    """Make room for what is erased and held, and let a record forget its client."""
    op.create_table(
        "erased",
        sa.Column("idx", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("erasure_idx", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("fields", sa.SmallInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("erased_by_erasure", "erased", ["erasure_idx", "idx"])
    op.create_table(
        "hold",
        sa.Column("id", ID, primary_key=True),
        sa.Column("record_id", ID),
        sa.Column("reference", sa.LargeBinary()),
        sa.Column("client_id", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger()),
        sa.Column("lifted_at_us", sa.BigInteger()),
    )
    for statement in FORGETTING[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Go back only where nothing was erased or held: older code would call what is gone tampered with."""
    if op.get_bind().scalar(sa.text("SELECT (SELECT count(*) FROM erased) + (SELECT count(*) FROM hold)")):
        raise RuntimeError("something was erased or held: older code cannot verify that")
    for statement in REMEMBERING[op.get_bind().dialect.name]:
        op.execute(statement)
    op.drop_table("hold")
    op.drop_table("erased")
