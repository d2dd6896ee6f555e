"""The result cache, jobs that run by themselves, and indexes that answer from their first row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Added one by one and in place: SQLite need not write a large table anew.
    op.add_column("jobs", sa.Column("cache", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("cache_key", sa.Text()))
    op.add_column("jobs", sa.Column("cached_from", sa.Text()))
    where = sa.text("cache_key IS NOT NULL")
    op.create_index(
        "jobs_cache_idx", "jobs", ["tenant", "cache_key", "id"], postgresql_where=where, sqlite_where=where
    )
    op.drop_index("job_files_file_idx", "job_files")
    op.create_index("job_files_use_idx", "job_files", ["file", "role", "job_id"])
    op.create_index("tenant_clocks_vtime_idx", "tenant_clocks", ["pool", "priority", "vtime"])
    op.create_index(
        "jobs_suspect_idx",
        "jobs",
        ["pool", "priority", "vtime", "id"],
        postgresql_where=sa.text("claimable AND alone"),
        sqlite_where=sa.text("claimable = 1 AND alone = 1"),
    )
