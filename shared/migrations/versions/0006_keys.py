"""Keys and quotas of tenants, endpoints of webhooks, what a job's files weigh, the request that made it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

#: JSON in SQL: text on SQLite.
_JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    # Whoever still runs the release before this one leaves them out: each has a default.
    op.add_column("jobs", sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("request_id", sa.Text()))
    op.create_index(
        "jobs_stored_idx",
        "jobs",
        ["tenant", "stored_bytes"],
        postgresql_where=sa.text("stored_bytes > 0"),
        sqlite_where=sa.text("stored_bytes > 0"),
    )
    op.create_index("files_tenant_idx", "files", ["tenant", "bytes"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("scopes", _JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="api_keys_pkey"),
    )
    op.create_table(
        "tenants",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger()),
        sa.Column("jobs_per_minute", sa.BigInteger()),
        sa.Column("queued_jobs", sa.BigInteger()),
        sa.Column("stored_bytes", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name", name="tenants_pkey"),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", _JSON, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_because", sa.Text()),
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("rotated_at", sa.BigInteger()),
        sa.Column("failing_since", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="webhooks_pkey"),
    )
    op.add_column("deliveries", sa.Column("lane", sa.Text(), nullable=False, server_default=""))
    op.create_index("webhooks_tenant_idx", "webhooks", ["tenant", "id"])
    op.create_index(
        "deliveries_webhook_idx",
        "deliveries",
        ["webhook", "id"],
        postgresql_where=sa.text("webhook IS NOT NULL"),
        sqlite_where=sa.text("webhook IS NOT NULL"),
    )
