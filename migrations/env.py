"""Runs the migrations on the connection that db/migrate.py lends; reads no setting of its own."""

from alembic import context
from sqlalchemy import Connection

from db.tables import metadata


def run(connection: Connection) -> None:
    """Apply what is missing in one transaction: a failed migration leaves the database as it was."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite cannot alter most things in place
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
