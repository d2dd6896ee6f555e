"""Alembic's entry: runs on the connection, and in the transaction, that `shared.database.upgrade` opened."""

from __future__ import annotations

from alembic import context

from shared.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters a table by making it anew.
    render_as_batch=True,
)
context.run_migrations()
