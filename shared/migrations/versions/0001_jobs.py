"""The first tables: jobs and their files, uploads, heads, workers, leaders, tenants' clocks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _jobs()
    _files()
    _workers()


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("claimable", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("vtime", sa.BigInteger(), nullable=False),
        sa.Column("run_after", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries_left", sa.Integer(), nullable=False),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("worker", sa.Text()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.Column("start_by", sa.BigInteger()),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("timeout_ms", sa.BigInteger()),
        sa.Column("retain_ms", sa.BigInteger(), nullable=False),
        sa.Column("fraction", sa.Float(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("error_retryable", sa.Boolean()),
        sa.Column("batch_size", sa.Integer()),
        sa.Column("result_file", sa.Text()),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("timings_ms", sa.JSON(), nullable=False),
        sa.Column("artifacts", sa.JSON(), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("input", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="jobs_pkey"),
        postgresql_with={"autovacuum_vacuum_scale_factor": 0.01, "fillfactor": 80},
    )
    op.create_index("jobs_list_idx", "jobs", ["tenant", "created_at", "id"])
    op.create_index("jobs_list_state_idx", "jobs", ["tenant", "state", "created_at", "id"])
    _partial("jobs_claim_idx", ["pool", "priority", "vtime", "id"], "claimable", "claimable = 1")
    _partial("jobs_held_idx", ["id"], "worker IS NOT NULL")
    _partial(
        "jobs_start_by_idx",
        ["start_by"],
        "claimable AND start_by IS NOT NULL",
        "claimable = 1 AND start_by IS NOT NULL",
    )
    _partial("jobs_expires_at_idx", ["expires_at"], "expires_at IS NOT NULL")
    op.create_table(
        "job_files",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="job_files_job_id_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "file", "role", name="job_files_pkey"),
    )
    op.create_index("job_files_file_idx", "job_files", ["file"])
    op.create_table(
        "tenant_clocks",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("vtime", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool", "priority", "tenant", name="tenant_clocks_pkey"),
    )


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="files_pkey"),
    )
    op.create_index("files_id_idx", "files", ["id"])
    op.create_table(
        "heads",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name="heads_pkey"),
    )


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("info", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="workers_pkey"),
    )
    op.create_table(
        "leaders",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("role", name="leaders_pkey"),
    )


def _partial(name: str, columns: list[str], where: str, on_sqlite: str = "") -> None:
    op.create_index(
        name, "jobs", columns, postgresql_where=sa.text(where), sqlite_where=sa.text(on_sqlite or where)
    )
