"""What time does to jobs; the reconciler's leader asks for it again and again."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import ClauseElement, ColumnElement, Connection, bindparam, func, select, update

from shared.database import now
from shared.jobs import JobState, WorkerId
from shared.store.edge import Edge
from shared.store.messages import TOLD, book, is_told
from shared.store.moves import CANCELING, HELD, RUNNING, Columns, due, ended, exhausted, waiting
from shared.store.statements import Statement
from shared.tables import jobs

#: LIMIT for no limit.
_ALL = 2**62


class Upkeep(Edge):
    """Leases and deadlines. None of it waits for a row that someone else is writing."""

    def expire_leases(self) -> int:
        """Take dead workers' jobs from them, and return how many.

        Each may run again at once, alone, since it may be what killed its worker; it fails when no attempt
        is left. One being cancelled is canceled.
        """
        with self._database.begin() as connection:
            return _take_away(connection, HELD & (jobs.c.lease_until < now()))

    def expire_leases_of(self, dead: Collection[WorkerId]) -> int:
        """Take the jobs of workers that are known to be dead from them, as `expire_leases` would later."""
        with self._database.begin() as connection:
            return _take_away(connection, HELD & jobs.c.worker.in_(dead)) if dead else 0

    def expire_deadlines(self) -> int:
        """Expire the queued jobs that nobody started within their time, and return how many."""
        missed = jobs.c.claimable & (jobs.c.start_by <= now()) & (jobs.c.state == JobState.QUEUED.value)
        with self._database.begin() as connection:
            return _sweep(connection, missed, ended(JobState.EXPIRED))

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


def _take_away(connection: Connection, dead: ColumnElement[bool]) -> int:
    alone = waiting() | {"alone": True}
    none_left = exhausted("the worker that ran it was lost, and no attempt is left")
    return (
        _sweep(connection, dead & CANCELING, ended(JobState.CANCELED))
        + _sweep(connection, dead & RUNNING & (jobs.c.tries_left > 0), alone)
        + _sweep(connection, dead & RUNNING, none_left)
    )


def _sweep(connection: Connection, where: ColumnElement[bool], columns: Columns) -> int:
    picked = select(jobs.c.id).where(where).with_for_update(skip_locked=True).cte("picked")
    swept = update(jobs).where(jobs.c.id.in_(select(picked.c.id))).values(columns)
    # Not `rowcount`: sqlite3 knows none for a statement that begins with WITH.
    rows = connection.execute(swept.returning(jobs.c.id, *TOLD)).mappings().all()
    book(connection, [row["id"] for row in rows if is_told(row)])
    return len(rows)


_NEXT_POOL = Statement(
    lambda _: select(func.min(jobs.c.pool)).where(jobs.c.claimable, jobs.c.pool > bindparam("pool"))
)
_COUNT = Statement(_count)
