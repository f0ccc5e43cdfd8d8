"""Alembic's entry: `backend.core.migrate` hands over a connection; offline mode is not offered."""

from alembic import context

from backend.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    compare_server_default=False,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
