"""Generations of a job, what its input weighs, whom to tell of its end, keys of submits, uploads that end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: JSON in SQL: text on SQLite.
_JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    # Whoever still runs the release before this one leaves them out: each has a default.
    op.add_column("jobs", sa.Column("generation", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("jobs", sa.Column("retried_at", sa.BigInteger()))
    op.add_column("jobs", sa.Column("input_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("webhook", _JSON))
    op.create_index(
        "jobs_queued_idx",
        "jobs",
        ["tenant", "input_bytes"],
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.add_column("files", sa.Column("review_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("files_review_at_idx", "files", ["review_at"])
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name="idempotency_keys_pkey"),
    )
    op.create_index("idempotency_keys_created_at_idx", "idempotency_keys", ["created_at"])
    _create_deliveries()


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("webhook", sa.Text()),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("log", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="deliveries_pkey"),
    )
    op.create_index(
        "deliveries_next_at_idx",
        "deliveries",
        ["next_at"],
        postgresql_where=sa.text("next_at IS NOT NULL"),
        sqlite_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index("deliveries_job_id_idx", "deliveries", ["job_id"])
    op.create_index(
        "deliveries_ended_at_idx",
        "deliveries",
        ["ended_at"],
        postgresql_where=sa.text("ended_at IS NOT NULL"),
        sqlite_where=sa.text("ended_at IS NOT NULL"),
    )
