"""What is forgotten, and when."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import ClauseElement, Connection, bindparam, case, delete, or_, select, update

from shared.database import now
from shared.jobs import FileId
from shared.store.edge import Edge, chunks, milliseconds
from shared.store.files import REVIEW_MS, UNNAMED, is_named
from shared.store.idempotency import FORGET, KEPT_MS
from shared.store.statements import Statement, constant
from shared.tables import deliveries, files, idempotency_keys, job_files, jobs, workers

#: A worker unseen for so long is forgotten.
_FORGOTTEN_MS = 24 * 3600 * 1000  # a day
#: For so long it can be looked up what became of a message that was delivered or given up.
_LOGGED_MS = 7 * _FORGOTTEN_MS


class Retention(Edge):
    """Ended jobs, uploads and keys past their time. Nothing here waits for a row that someone else writes."""

    def purge(self, limit: int = 500) -> list[FileId]:
        """Delete ended jobs past their retention, and return the blobs that no row names any more.

        Somebody may be about to name one of those once more: the caller waits before it deletes them. Fewer
        than all may have gone; call again while any is `overdue`.
        """
        past = (
            select(jobs.c.id)
            .where(jobs.c.expires_at <= now())
            .order_by(jobs.c.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._database.begin() as connection:
            connection.execute(delete(workers).where(workers.c.seen_at < now() - _FORGOTTEN_MS))
            named: set[FileId] = set()
            for ids in chunks(connection.scalars(past).all()):
                named.update(connection.scalars(select(job_files.c.file).where(job_files.c.job_id.in_(ids))))
                # Their rows in `job_files` go with them, by the foreign key.
                connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))
            return sorted(_unnamed(connection, named))

    def review_uploads(self, retain: timedelta, limit: int = 500) -> list[FileId]:
        """Forget uploads that are older than `retain` and that no job names; as `purge`, return blobs.

        Nor does one go within `retain` of its last `add_file`. The others are looked at again later.
        """
        due = (
            select(
                *(files.c.tenant, files.c.id),
                or_(is_named(files.c.id), files.c.created_at > now() - milliseconds(retain)).label("stays"),
            )
            .where(files.c.review_at <= now())
            .order_by(files.c.review_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._database.begin() as connection:
            rows = connection.execute(due).all()
            gone = [row for row in rows if not row.stays]
            owned = [{"owner": row.tenant, "file": row.id} for row in gone]
            _FORGET.run_all(connection, owned)
            _DEFER.run_all(
                connection,
                (
                    {"owner": row.tenant, "file": row.id, "retain_ms": milliseconds(retain)}
                    for row in rows
                    if row.stays
                ),
            )
            return sorted(_unnamed(connection, {row.id for row in gone}))

    def overdue(self) -> bool:
        """Return whether `purge` or `review_uploads` would find something to look at."""
        with self._database.read() as connection:
            return any(first.run(connection, {}).first() is not None for first in (_PAST, _DUE))

    def unnamed(self, wanted: Collection[FileId]) -> set[FileId]:
        """Return those blobs that neither a job nor an upload names."""
        if not wanted:
            return set()
        with self._database.read() as connection:
            return _unnamed(connection, wanted)

    def purge_deliveries(self, limit: int = 5_000) -> int:
        """Forget messages that ended a week ago or longer, and return how many; more may be left."""
        past = (
            select(deliveries.c.id)
            .where(deliveries.c.ended_at <= now() - _LOGGED_MS)
            .order_by(deliveries.c.ended_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._database.begin() as connection:
            ids = connection.scalars(past).all()
            for some in chunks(ids):
                connection.execute(delete(deliveries).where(deliveries.c.id.in_(some)))
        return len(ids)

    def purge_keys(self, limit: int = 5_000) -> int:
        """Forget idempotency keys whose time is over, and return how many; more may be left."""
        keys = idempotency_keys
        past = (
            select(keys.c.tenant, keys.c.key)
            .where(keys.c.created_at <= now() - KEPT_MS)
            .order_by(keys.c.created_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._database.begin() as connection:
            gone = [dict(row) for row in connection.execute(past).mappings()]
            FORGET.run_all(connection, gone)
        return len(gone)


def _unnamed(connection: Connection, wanted: Collection[FileId]) -> set[FileId]:
    return set(UNNAMED.run(connection, {"wanted": json.dumps(sorted(wanted))}).scalars())


def _defer(_: str) -> ClauseElement:
    # To the end of its time if that is to come; then again and again, as long as a job names it.
    ends_at = files.c.created_at + bindparam("retain_ms", type_=files.c.created_at.type)
    return (
        update(files)
        .where(files.c.tenant == bindparam("owner"), files.c.id == bindparam("file"))
        .values(review_at=case((ends_at > now(), ends_at), else_=now() + REVIEW_MS))
    )


_PAST = Statement(
    lambda _: (
        select(jobs.c.id).where(jobs.c.expires_at <= now()).order_by(jobs.c.expires_at).limit(constant(1))
    )
)
_DUE = Statement(
    lambda _: (
        select(files.c.id).where(files.c.review_at <= now()).order_by(files.c.review_at).limit(constant(1))
    )
)
_FORGET = Statement(
    lambda _: delete(files).where(files.c.tenant == bindparam("owner"), files.c.id == bindparam("file"))
)
_DEFER = Statement(_defer)
