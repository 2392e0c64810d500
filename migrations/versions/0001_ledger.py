"""The ledger, its lookups, clients and versions.

Why: the first schema. `record` refuses UPDATE and DELETE by trigger: not a defence against the owner of the
database, who can drop triggers, but against every accident and every careless statement.
Locks: none that matter, the tables are new.
Old code meanwhile: there is none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.Uuid().with_variant(sa.LargeBinary(16), "sqlite")
IDX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TRIGGERS = {
    "sqlite": [
        f"CREATE TRIGGER record_forbids_{event} BEFORE {event} ON record"
        " BEGIN SELECT RAISE(ABORT, 'record is append-only'); END"
        for event in ("update", "delete")
    ],
    "postgresql": [
        "CREATE FUNCTION record_is_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'record is append-only'; END $$",
        "CREATE TRIGGER record_forbids_change BEFORE UPDATE OR DELETE OR TRUNCATE ON record"
        " FOR EACH STATEMENT EXECUTE FUNCTION record_is_append_only()",
    ],
}


def upgrade() -> None:
    """Create everything, and the head of an empty ledger."""
    _create_ledger()
    _create_prediction()
    _create_clients()
    _create_versions()
    for statement in TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)
    op.execute("INSERT INTO head (id, size, latest_us, lag_us) VALUES (1, 0, 0, 0)")


def downgrade() -> None:
    """Drop everything, from an empty ledger only: a record that was answered for is never dropped."""
    if op.get_bind().scalar(sa.text("SELECT size FROM head WHERE id = 1")) != 0:
        raise RuntimeError("the ledger is not empty: records are never dropped by a migration")
    for table in ("alias", "version", "client_secret", "client", "prediction", "payload", "record", "head"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION record_is_append_only")


def _create_ledger() -> None:
    op.create_table(
        "head",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("latest_us", sa.BigInteger(), nullable=False),
        sa.Column("lag_us", sa.BigInteger(), nullable=False),
        postgresql_with={"fillfactor": "10"},
    )
    op.create_table(
        "record",
        sa.Column("idx", IDX, primary_key=True, autoincrement=False),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("observed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text()),
        sa.Column("version", sa.Text()),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Column("status", sa.SmallInteger(), nullable=False),
    )
    op.create_index("record_by_time", "record", ["observed_at_us"])
    op.create_table(
        "payload",
        sa.Column("record_id", ID, primary_key=True),
        sa.Column("input", sa.LargeBinary(), nullable=False),
        sa.Column("output", sa.LargeBinary(), nullable=False),
        sa.Column("actor", sa.LargeBinary(), nullable=False),
        sa.Column("meta", sa.LargeBinary(), nullable=False),
    )


def _create_prediction() -> None:
    op.create_table(
        "prediction",
        sa.Column("idx", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text()),
        sa.Column("label", sa.Text()),
        sa.Column("score", sa.Double()),
        sa.Column("observed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("outcome_idx", sa.BigInteger()),
        sqlite_with_rowid=False,
    )
    op.create_index("prediction_by_client", "prediction", ["client_id", "idx", "position"])
    op.create_index(
        "prediction_by_version", "prediction", ["model", "version", "client_id", "idx", "position"]
    )
    op.create_index("prediction_by_score", "prediction", ["client_id", "score", "idx", "position"])
    for name, condition, columns in (
        ("prediction_by_label", "label IS NOT NULL", ["label", "client_id"]),
        ("prediction_by_reference", "reference IS NOT NULL", ["reference", "client_id"]),
        ("prediction_with_outcome", "outcome_idx IS NOT NULL", ["client_id"]),
    ):
        op.create_index(
            name,
            "prediction",
            [*columns, "idx", "position"],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )


def _create_clients() -> None:
    op.create_table(
        "client",
        sa.Column("client_id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at_us", sa.BigInteger()),
    )
    op.create_table(
        "client_secret",
        sa.Column("id", IDX, primary_key=True),
        sa.Column("client_id", sa.Text(), sa.ForeignKey("client.client_id"), nullable=False, index=True),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger()),
    )


def _create_versions() -> None:
    op.create_table(
        "version",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("version", sa.Text(), primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("registered_at_us", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "alias",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("alias", sa.Text(), primary_key=True),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text()),
        sa.Column("changed_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["version.model", "version.version"]),
    )
