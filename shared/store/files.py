"""What tenants uploaded, what their jobs made, and the classifiers they trained."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, exists, select

from shared.database import now
from shared.errors import NotFound
from shared.jobs import FileId, TenantId
from shared.store.edge import Edge, chunks
from shared.store.rows import artifacts_of, moment
from shared.tables import files, heads, job_files, jobs


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """What is known of a blob without reading it."""

    id: FileId
    media_type: str
    bytes: int
    #: Pixels; None when it is no picture, or one that a job made.
    width: int | None
    height: int | None
    created_at: datetime


class Files(Edge):
    """A tenant's files are what it uploaded and its jobs' artifacts; a foreign file is an unknown one."""

    def add_file(
        self,
        tenant: TenantId,
        file: FileId,
        *,
        media_type: str,
        size: int,
        width: int | None,
        height: int | None,
    ) -> bool:
        """Record an upload, and return whether it is new for this tenant; a known one stays as it was.

        Args:
            size: in bytes.
            width: in pixels, as is `height`; None for what is no picture.
        """
        added = (
            self._database.insert(files)
            .values(
                tenant=tenant,
                id=file,
                media_type=media_type,
                bytes=size,
                width=width,
                height=height,
                created_at=now(),
            )
            .on_conflict_do_nothing()
            .returning(files.c.id)
        )
        with self._database.begin() as connection:
            return connection.scalars(added).one_or_none() is not None

    def get_file(self, tenant: TenantId, file: FileId) -> StoredFile:
        """Return what is known of one of a tenant's files.

        Raises:
            NotFound: the tenant neither uploaded it nor has a job that made it.
        """
        query = select(files).where(files.c.tenant == tenant, files.c.id == file)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return _artifact(connection, tenant, file)
            return StoredFile(
                id=file,
                media_type=row["media_type"],
                bytes=row["bytes"],
                width=row["width"],
                height=row["height"],
                created_at=moment(row["created_at"]),
            )

    def missing_files(self, tenant: TenantId, wanted: Collection[FileId]) -> set[FileId]:
        """Return those that `get_file` would not find."""
        missing = set(wanted)
        with self._database.read() as connection:
            for chunk in chunks(wanted):
                uploaded = select(files.c.id).where(files.c.tenant == tenant, files.c.id.in_(chunk))
                missing.difference_update(connection.scalars(uploaded))
                made = _made_by(tenant).where(job_files.c.file.in_(chunk))
                missing.difference_update(connection.scalars(made))
        return missing

    def head_exists(self, tenant: TenantId, name: str) -> bool:
        """Return whether a tenant has a classifier of this name."""
        query = select(exists().where(heads.c.tenant == tenant, heads.c.name == name))
        with self._database.read() as connection:
            return connection.scalars(query).one()


def _made_by(tenant: TenantId) -> Select[FileId]:
    return (
        select(job_files.c.file)
        .join(jobs, jobs.c.id == job_files.c.job_id)
        .where(jobs.c.tenant == tenant, job_files.c.role == "artifact")
    )


def _artifact(connection: Connection, tenant: TenantId, file: FileId) -> StoredFile:
    query = (
        _made_by(tenant)
        .with_only_columns(jobs.c.artifacts, jobs.c.finished_at)
        .where(job_files.c.file == file)
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no file {file}")
    artifact = next(artifact for artifact in artifacts_of(row) if artifact.file == file)
    return StoredFile(
        id=file,
        media_type=artifact.media_type,
        bytes=artifact.bytes,
        width=None,
        height=None,
        created_at=moment(row["finished_at"]),
    )
