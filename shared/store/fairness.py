"""Whose turn it is: start-time fair queueing (Goyal, Vin and Cheng 1996), one queue per pool and priority.

Each job gets a start tag S = max(v, F), where F is the finish tag of its tenant's job before it (its start
tag plus its cost, here 1) and v is the queue's virtual time; jobs are claimed by S. So a tenant's thousandth
waiting job stands a thousand turns behind, and another tenant's first one stands at the head. A tenant that
was idle starts at v: it saved up nothing.

The queue's virtual time is the start tag at its head, which costs claimers nothing to keep; when nothing
waits, it is the largest finish tag. Priorities have queues of their own, or else a tenant's many low jobs
would hold back its one high job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.sql.dml import ReturningInsert

from shared.database import Database, now
from shared.jobs import JobState, NewJob
from shared.tables import jobs, tenant_clocks


@dataclass(frozen=True, kw_only=True, slots=True)
class Tags:
    """Where some new jobs stand in their queues."""

    #: One for each job, in order.
    starts: Sequence[int]
    #: The database's clock.
    taken_at: int


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class _Line:
    """One tenant's place in one queue."""

    pool: str
    priority: int
    tenant: str


def take_tags(database: Database, connection: Connection, new: Sequence[NewJob]) -> Tags:
    """Return the start tags of jobs to come, of any tenants; those of one tenant follow one another.

    Each tenant's next submit waits until the transaction ends.
    """
    lines = [_Line(pool=job.pool, priority=int(job.priority), tenant=job.tenant) for job in new]
    starts: dict[_Line, Iterator[int]] = {}
    taken_at = 0
    # In one order everywhere, or two submits could each hold the line that the other waits for.
    for line, length in sorted(Counter(lines).items()):
        finish, taken_at = connection.execute(_advance(database, line, length)).one()
        starts[line] = count(finish - length)
    return Tags(starts=[next(starts[line]) for line in lines], taken_at=taken_at)


def _advance(database: Database, line: _Line, length: int) -> ReturningInsert[int, int]:
    clock = database.insert(tenant_clocks).values(
        pool=line.pool,
        priority=line.priority,
        tenant=line.tenant,
        vtime=_virtual_time(line.pool, line.priority) + length,
    )
    # greatest(), which SQLite calls max().
    later = func.max if database.dialect == "sqlite" else func.greatest
    vtime = later(clock.excluded.vtime, tenant_clocks.c.vtime + length)
    return clock.on_conflict_do_update(
        index_elements=["pool", "priority", "tenant"], set_={"vtime": vtime}
    ).returning(tenant_clocks.c.vtime, now())


def _virtual_time(pool: str, priority: int) -> ColumnElement[int]:
    head = (
        select(jobs.c.vtime)
        # A requeued job keeps its old tag, which says nothing of the present.
        .where(
            jobs.c.pool == pool,
            jobs.c.priority == priority,
            jobs.c.claimable,
            jobs.c.state == JobState.QUEUED.value,
        )
        .order_by(jobs.c.vtime)
        .limit(1)
        .scalar_subquery()
    )
    newest = (
        select(func.max(tenant_clocks.c.vtime))
        .where(tenant_clocks.c.pool == pool, tenant_clocks.c.priority == priority)
        .scalar_subquery()
    )
    return func.coalesce(head, newest, 0)
