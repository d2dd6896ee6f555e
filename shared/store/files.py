"""What tenants uploaded, what their jobs made, and the classifiers they trained."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    ScalarSelect,
    Text,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from shared.database import now
from shared.errors import NotFound
from shared.jobs import FileId, Json, NewFile, TenantId
from shared.store.edge import Edge, milliseconds
from shared.store.rows import artifacts_of, moment
from shared.store.statements import Statement, constant, each
from shared.tables import files, heads, job_files, jobs

#: Between two looks whether a job still names an upload.
REVIEW_MS = 24 * 3600 * 1000  # a day


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A classifier that a tenant trained."""

    name: str
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
        width: int | None = None,
        height: int | None = None,
        retain: timedelta = timedelta(days=7),
    ) -> bool:
        """Record an upload, and return whether it is new for this tenant; a known one stays as it was.

        Args:
            size: in bytes.
            width: in pixels, as is `height`; None for what is no picture.
            retain: it is kept for so long from now, new or known, and beyond that while a job names it.
        """
        upload = NewFile(
            id=file, tenant=tenant, media_type=media_type, bytes=size, width=width, height=height
        )
        values = _values_of(upload) | {"review_in": milliseconds(retain), "owner": tenant, "file": file}

        def work(connection: Connection) -> bool:
            if _ADD.run(connection, values).one_or_none() is not None:
                return True
            if _EXTEND.run(connection, values).one_or_none() is not None:
                return False
            # It was let go between the two.
            return _ADD.run(connection, values).one_or_none() is not None

        return self._database.write(work)

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
        if not wanted:
            return set()
        with self._database.read() as connection:
            values = {"tenant": tenant, "wanted": json.dumps(list(wanted))}
            return set(_MISSING.run(connection, values).scalars())

    def stored_bytes(self, tenant: TenantId) -> int:
        """Return what a tenant's uploads and its jobs' files weigh, each as often as it is named."""
        with self._database.read() as connection:
            return int(_STORED.run(connection, {"tenant": tenant}).scalar_one())

    def delete_file(self, tenant: TenantId, file: FileId) -> None:
        """Forget an upload; jobs that name it keep its bytes as long as they need them.

        Raises:
            NotFound: the tenant has not uploaded it; what a job made goes with its job.
        """
        values = {"owner": tenant, "file": file}
        gone = self._database.write(lambda connection: _DROP.run(connection, values).one_or_none())
        if gone is None:
            raise NotFound(f"there is no upload {file}; what a job made is deleted with the job")

    def heads(self, tenant: TenantId) -> list[Head]:
        """Return a tenant's classifiers, by name."""
        query = select(heads).where(heads.c.tenant == tenant).order_by(heads.c.name)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [Head(name=row["name"], created_at=moment(row["created_at"])) for row in rows]

    def delete_head(self, tenant: TenantId, name: str) -> None:
        """Forget a classifier.

        Raises:
            NotFound: the tenant has none of this name.
        """
        query = delete(heads).where(heads.c.tenant == tenant, heads.c.name == name).returning(heads.c.name)
        with self._database.begin() as connection:
            if connection.execute(query).one_or_none() is None:
                raise NotFound(f"there is no head {name[:100]!r}")

    def head_exists(self, tenant: TenantId, name: str) -> bool:
        """Return whether a tenant has a classifier of this name."""
        with self._database.read() as connection:
            return _HEAD.run(connection, {"tenant": tenant, "name": name}).one_or_none() is not None


def record(connection: Connection, uploads: Sequence[NewFile]) -> None:
    """Record uploads that come with jobs, and are kept as long as those; a known one stays as it was."""
    # In one order everywhere: PostgreSQL lets a second one of the same row wait for the first one's end.
    ordered = sorted(uploads, key=lambda upload: (upload.tenant, upload.id))
    _RECORD.run_all(connection, (_values_of(upload) | {"review_in": REVIEW_MS} for upload in ordered))


def is_named(file: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether some job names a blob."""
    return _next(job_files.c.file, file) == file


def _artifact(connection: Connection, tenant: TenantId, file: FileId) -> StoredFile:
    row = _ARTIFACT.run(connection, {"tenant": tenant, "file": file}).mappings().one_or_none()
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


def _values_of(upload: NewFile) -> Json:
    return {
        "tenant": upload.tenant,
        "id": upload.id,
        "media_type": upload.media_type,
        "bytes": upload.bytes,
        "width": upload.width,
        "height": upload.height,
    }


def _insert(dialect: str) -> sqlite.Insert | postgresql.Insert:
    added = sqlite.insert(files) if dialect == "sqlite" else postgresql.insert(files)
    names = ("tenant", "id", "media_type", "bytes", "width", "height")
    given: dict[str, ColumnElement[Any]] = {name: bindparam(name) for name in names}
    return added.values(
        given | {"created_at": now(), "review_at": now() + bindparam("review_in")}
    ).on_conflict_do_nothing()


def _extend(_: str) -> ClauseElement:
    later = now() + bindparam("review_in")
    return (
        update(files)
        .where(files.c.tenant == bindparam("owner"), files.c.id == bindparam("file"))
        .values(review_at=case((files.c.review_at < later, later), else_=files.c.review_at))
        .returning(files.c.id)
    )


_RECORD = Statement(_insert)
_ADD = Statement(lambda dialect: _insert(dialect).returning(files.c.id))
_EXTEND = Statement(_extend)


def _missing(dialect: str) -> ClauseElement:
    wanted = each(dialect)
    uploaded = (
        select(files.c.id)
        .where(files.c.tenant == bindparam("tenant"), files.c.id == wanted.c.value)
        .scalar_subquery()
    )
    return select(wanted.c.value).where(uploaded.is_(None), _maker(wanted.c.value).is_(None))


def _unnamed(dialect: str) -> ClauseElement:
    wanted = each(dialect)
    columns = (files.c.id, job_files.c.file)
    return select(wanted.c.value).where(
        *(_next(column, wanted.c.value) != wanted.c.value for column in columns)
    )


def _next(column: ColumnElement[str], value: ColumnElement[str]) -> ColumnElement[str]:
    # For `column = value LIMIT 1`, PostgreSQL walks the table where it expects to meet one soon.
    least = select(column).where(column >= value).order_by(column).limit(literal_column("1"))
    return func.coalesce(least.scalar_subquery(), literal_column("''"))


def _maker(file: ColumnElement[str]) -> ScalarSelect[str]:
    """Return the id of one of the tenant's jobs that made a file."""
    # Neither a join nor EXISTS, which both planners may begin at the other end, with all jobs of a tenant.
    owned = (
        select(jobs.c.id)
        .where(jobs.c.id == job_files.c.job_id, jobs.c.tenant == bindparam("tenant"))
        .scalar_subquery()
    )
    return (
        select(job_files.c.job_id)
        .where(job_files.c.file == file, job_files.c.role == "artifact", owned.is_not(None))
        .order_by(job_files.c.job_id)
        .limit(literal_column("1"))
        .scalar_subquery()
    )


_ARTIFACT = Statement(
    lambda _: select(jobs.c.artifacts, jobs.c.finished_at).where(
        jobs.c.id == _maker(bindparam("file", type_=Text))
    )
)
_MISSING = Statement(_missing)
#: Those of a JSON array of blobs `wanted` that nobody names.
UNNAMED = Statement(_unnamed)


def _stored(_: str) -> ClauseElement:
    kept = [
        select(func.coalesce(func.sum(weight), 0)).where(*conditions).scalar_subquery()
        for weight, conditions in (
            (files.c.bytes, [files.c.tenant == bindparam("tenant")]),
            # Said so that the partial index answers it.
            (jobs.c.stored_bytes, [jobs.c.tenant == bindparam("tenant"), jobs.c.stored_bytes > constant(0)]),
        )
    ]
    return select(kept[0] + kept[1])


_STORED = Statement(_stored)
_DROP = Statement(
    lambda _: (
        delete(files)
        .where(files.c.tenant == bindparam("owner"), files.c.id == bindparam("file"))
        .returning(files.c.id)
    )
)
_HEAD = Statement(
    lambda _: select(heads.c.name).where(
        heads.c.tenant == bindparam("tenant"), heads.c.name == bindparam("name")
    )
)
