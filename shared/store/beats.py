"""The heartbeat: one statement that renews many leases and stores as many jobs' progress."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from shared.database import now
from shared.jobs import JobId, Progress, WorkerId
from shared.store.rows import storable
from shared.tables import jobs


def beat(
    worker: WorkerId, held: Mapping[JobId, int], progress: Mapping[JobId, Progress], lease_ms: int
) -> ReturningUpdate[str, str]:
    """Return the statement; its rows are (id, state) of each job still held. At most 500 jobs: SQLite."""
    # A SELECT for each job: both databases read this, which is not so for VALUES or JSON.
    told = union_all(
        *(_line(job_id, attempt, progress.get(job_id)) for job_id, attempt in held.items())
    ).subquery("told")
    further = and_(
        told.c.fraction >= jobs.c.fraction,
        or_(
            told.c.fraction > jobs.c.fraction,
            told.c.stage != jobs.c.stage,
            told.c.message != jobs.c.message,
        ),
    )

    def kept(name: str) -> ColumnElement[object]:
        return case((further, told.c[name]), else_=jobs.c[name])

    return (
        update(jobs)
        .where(jobs.c.id == told.c.id, jobs.c.attempt == told.c.attempt, jobs.c.worker == worker)
        .values(
            lease_until=now() + lease_ms,
            fraction=kept("fraction"),
            stage=kept("stage"),
            message=kept("message"),
            version=case((further, jobs.c.version + 1), else_=jobs.c.version),
        )
        .returning(jobs.c.id, jobs.c.state)
    )


def _line(job_id: JobId, attempt: int, progress: Progress | None) -> Select[str, int, float, str, str]:
    return select(
        cast(job_id, Text).label("id"),
        cast(attempt, Integer).label("attempt"),
        # Without progress NULL, and NULL is not further than anything.
        cast(progress and progress.fraction, Float).label("fraction"),
        cast(progress and storable(progress.stage), Text).label("stage"),
        cast(progress and storable(progress.message), Text).label("message"),
    )
