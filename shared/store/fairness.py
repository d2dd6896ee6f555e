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
from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    ColumnElement,
    Connection,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from shared.database import Database, now
from shared.groups import Take
from shared.jobs import JobState, NewJob
from shared.store.statements import Statement
from shared.tables import jobs, tenant_clocks

#: The place of one tenant in one queue: pool, priority, tenant.
Line = tuple[str, int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tags:
    """Where some new jobs stand in their queues."""

    #: One for each job, in order.
    starts: Sequence[int]
    #: The database's clock; 0 when there are no jobs.
    taken_at: int


class Tagger:
    """Takes start tags on PostgreSQL, those of all threads that wait in one statement per line.

    A submit's rows must wait for the disk, and other submits of its tenant for its tags: so that they need
    not wait for the disk too, tags are taken before, each line in a transaction of its own whose COMMIT does
    not wait. A tag that a crash gives out again, or that no job gets, is worth one turn.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._group = database.group(self._take_together)

    def take(self, new: Sequence[NewJob]) -> Tags:
        """Return the start tags of jobs to come."""
        tags: Tags = self._group.do(lines_of(new))
        return tags

    def _take_together(self, take: Take[Sequence[Line], Tags]) -> None:
        with self._database.singly() as connection:
            places = take()
            lines = [line for place in places for line in place.item]
            tags = take_tags(connection, lines, statement=_ADVANCE_ALONE)
        starts = iter(tags.starts)
        for place in places:
            place.settle(Tags(starts=[next(starts) for _ in place.item], taken_at=tags.taken_at))


def lines_of(new: Sequence[NewJob]) -> list[Line]:
    """Return where each job will stand."""
    return [(job.pool, int(job.priority), job.tenant) for job in new]


def take_tags(connection: Connection, lines: Sequence[Line], *, statement: Statement | None = None) -> Tags:
    """Return the start tags of jobs to come, of any tenants; those of one tenant follow one another.

    In a transaction, each tenant's next submit waits until it ends.
    """
    starts: dict[Line, Iterator[int]] = {}
    taken_at = 0
    # In one order everywhere, or two submits could each hold the line that the other waits for.
    for line, length in sorted(Counter(lines).items()):
        pool, priority, tenant = line
        values = {"pool": pool, "priority": priority, "tenant": tenant, "length": length}
        row: Sequence[int] = (statement or _ADVANCE).run(connection, values).one()
        finish, taken_at = row[:2]
        starts[line] = count(finish - length)
    return Tags(starts=[next(starts[line]) for line in lines], taken_at=taken_at)


def _advance(dialect: str, *, is_alone: bool = False) -> ClauseElement:
    length = cast(bindparam("length"), BigInteger)
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    clock = insert(tenant_clocks).values(
        pool=bindparam("pool"),
        priority=bindparam("priority"),
        tenant=bindparam("tenant"),
        vtime=_virtual_time() + length,
    )
    # greatest(), which SQLite calls max().
    later = func.max if dialect == "sqlite" else func.greatest
    vtime = later(clock.excluded.vtime, tenant_clocks.c.vtime + length)
    answers: list[ColumnElement[Any]] = [tenant_clocks.c.vtime, now()]
    if is_alone:
        # PostgreSQL's, and for the transaction that this statement is alone in.
        answers.append(func.set_config("synchronous_commit", "off", literal_column("true")))
    return clock.on_conflict_do_update(
        index_elements=["pool", "priority", "tenant"], set_={"vtime": vtime}
    ).returning(*answers)


def _virtual_time() -> ColumnElement[int]:
    head = (
        select(jobs.c.vtime)
        # A requeued job keeps its old tag, which says nothing of the present.
        .where(
            jobs.c.pool == bindparam("pool"),
            jobs.c.priority == bindparam("priority"),
            jobs.c.claimable,
            jobs.c.state == JobState.QUEUED.value,
        )
        .order_by(jobs.c.vtime)
        .limit(literal_column("1"))
        .scalar_subquery()
    )
    newest = (
        select(func.max(tenant_clocks.c.vtime))
        .where(tenant_clocks.c.pool == bindparam("pool"), tenant_clocks.c.priority == bindparam("priority"))
        .scalar_subquery()
    )
    return func.coalesce(head, newest, 0)


_ADVANCE = Statement(_advance)
_ADVANCE_ALONE = Statement(lambda dialect: _advance(dialect, is_alone=True))
