"""Uploads lie by their hash, in one tree: a submit writes to one page of `files` instead of three."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = ("id", "tenant", "media_type", "bytes", "width", "height", "created_at")


def upgrade() -> None:
    op.drop_index("files_id_idx", "files")
    if op.get_bind().dialect.name == "sqlite":
        _write_anew()
        return
    op.drop_constraint("files_pkey", "files", type_="primary")
    op.create_primary_key("files_pkey", "files", ["id", "tenant"])


def _write_anew() -> None:
    """SQLite cannot change a table's key in place."""
    op.create_table(
        "files_by_id",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", "tenant", name="files_pkey"),
        sqlite_with_rowid=False,
    )
    before, after = (sa.table(name, *map(sa.column, _COLUMNS)) for name in ("files", "files_by_id"))
    ordered = sa.select(*before.c).order_by(before.c.id, before.c.tenant)
    op.execute(after.insert().from_select(_COLUMNS, ordered))
    op.drop_table("files")
    op.rename_table("files_by_id", "files")
