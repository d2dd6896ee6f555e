"""What time does to jobs; the reconciler's leader asks for it again and again."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy import ClauseElement, ColumnElement, Connection, bindparam, delete, func, select, update

from shared.database import now
from shared.jobs import FileId, JobState
from shared.store.edge import Edge, chunks
from shared.store.files import UNNAMED
from shared.store.moves import CANCELING, HELD, RUNNING, Columns, due, ended, exhausted, waiting
from shared.store.statements import Statement
from shared.tables import job_files, jobs, workers

#: A worker unseen for so long is forgotten.
_FORGOTTEN_MS = 24 * 3600 * 1000  # a day

#: LIMIT for no limit.
_ALL = 2**62


class Upkeep(Edge):
    """Leases, deadlines and retention. None of it waits for a row that someone else is writing."""

    def expire_leases(self) -> int:
        """Take dead workers' jobs from them, and return how many.

        Each may run again at once, alone, since it may be what killed its worker; it fails when no attempt
        is left. One being cancelled is canceled.
        """
        dead = HELD & (jobs.c.lease_until < now())
        alone = waiting() | {"alone": True}
        none_left = exhausted("the worker that ran it was lost, and no attempt is left")
        with self._database.begin() as connection:
            return (
                _sweep(connection, dead & CANCELING, ended(JobState.CANCELED))
                + _sweep(connection, dead & RUNNING & (jobs.c.tries_left > 0), alone)
                + _sweep(connection, dead & RUNNING, none_left)
            )

    def expire_deadlines(self) -> int:
        """Expire the queued jobs that nobody started within their time, and return how many."""
        missed = jobs.c.claimable & (jobs.c.start_by <= now()) & (jobs.c.state == JobState.QUEUED.value)
        with self._database.begin() as connection:
            return _sweep(connection, missed, ended(JobState.EXPIRED))

    def purge(self, limit: int = 500) -> list[FileId]:
        """Delete ended jobs past their retention, and return the blobs that no row names any more.

        The caller deletes the blobs. Fewer than all may have gone; call again until none is left to go.
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
            unnamed = UNNAMED.run(connection, {"wanted": json.dumps(sorted(named))})
            return sorted(unnamed.scalars())

    def backlog(self, limit: int | None = None) -> dict[str, int]:
        """Return how many jobs each pool could claim at this moment; a pool without any is left out.

        Args:
            limit: count no further, in each pool.
        """
        most = _ALL if limit is None else limit
        with self._database.read() as connection:
            counts: dict[str, int] = {
                pool: _COUNT.run(connection, {"pool": pool, "most": most}).scalar_one()
                for pool in _pools(connection)
            }
        return {pool: count for pool, count in counts.items() if count}


def _pools(connection: Connection) -> Iterator[str]:
    """Yield each pool that has claimable jobs, at one step in the index for each."""
    pool = ""
    while (pool := _NEXT_POOL.run(connection, {"pool": pool}).scalar_one()) is not None:
        yield pool


def _count(_: str) -> ClauseElement:
    some = select(jobs.c.id).where(jobs.c.pool == bindparam("pool"), due(now())).limit(bindparam("most"))
    return select(func.count()).select_from(some.subquery())


def _sweep(connection: Connection, where: ColumnElement[bool], columns: Columns) -> int:
    picked = select(jobs.c.id).where(where).with_for_update(skip_locked=True).cte("picked")
    swept = update(jobs).where(jobs.c.id.in_(select(picked.c.id))).values(columns).returning(jobs.c.id)
    # Not `rowcount`: sqlite3 knows none for a statement that begins with WITH.
    return len(connection.scalars(swept).all())


_NEXT_POOL = Statement(
    lambda _: select(func.min(jobs.c.pool)).where(jobs.c.claimable, jobs.c.pool > bindparam("pool"))
)
_COUNT = Statement(_count)
