"""A new generation of an ended job: the same job, run once more."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    case,
    cast,
    false,
    func,
    or_,
    select,
    true,
    update,
)

from shared.database import now
from shared.errors import AttemptsExhausted
from shared.jobs import RETRYABLE, JobId, JobState, TenantId
from shared.store.fairness import take_tags
from shared.store.rows import JOB_COLUMNS, Row
from shared.store.statements import Statement, constant
from shared.tables import jobs


def begin_generation(
    connection: Connection, tenant: TenantId, job_id: JobId, *, generation: int | None, tries: int
) -> Row | None:
    """Queue a job again that ended without success, and return its row; None: it stays as it is.

    Args:
        generation: only this one is followed by another; None: whichever it is.
        tries: claims that the new one may use up.
    """
    named = {"wanted": job_id, "wanted_tenant": tenant, "wanted_generation": generation}
    ended = _LOCK.run(connection, named).mappings().one_or_none()
    if ended is None:
        return None
    # It waits its turn like a new job of its tenant: its old tag would put it before all of them.
    tags = take_tags(connection, [(ended["pool"], ended["priority"], tenant)])
    values = {"wanted": job_id, "vtime": tags.starts[0], "tries": tries}
    return _BEGIN.run(connection, values).mappings().one()


def _lock(_: str) -> ClauseElement:
    wanted = cast(bindparam("wanted_generation"), Integer)
    return (
        select(jobs.c.pool, jobs.c.priority)
        .where(
            jobs.c.id == bindparam("wanted"),
            jobs.c.tenant == bindparam("wanted_tenant"),
            jobs.c.state.in_([constant(state.value) for state in sorted(RETRYABLE)]),
            or_(wanted.is_(None), jobs.c.generation == wanted),
        )
        # Whoever comes second finds it queued.
        .with_for_update(key_share=True)
    )


def _begin(_: str) -> ClauseElement:
    began_at = func.coalesce(jobs.c.retried_at, jobs.c.created_at)
    cleared = (
        *("finished_at", "expires_at", "started_at", "preview"),
        *("error_code", "error_message", "error_retryable"),
    )
    values: dict[str, Any] = dict.fromkeys(cleared) | dict.fromkeys(
        ("retried_at", "queued_at", "run_after"), now()
    )
    values |= {
        "state": constant(JobState.QUEUED.value),
        "version": jobs.c.version + 1,
        "generation": jobs.c.generation + 1,
        "claimable": True,
        "tries_left": cast(bindparam("tries"), Integer),
        "alone": _may_kill(),
        "vtime": cast(bindparam("vtime"), BigInteger),
        "start_by": now() + (jobs.c.start_by - began_at),
        "fraction": 0.0,
        "stage": "",
        "message": "",
    }
    return update(jobs).where(jobs.c.id == bindparam("wanted")).values(values).returning(*JOB_COLUMNS)


def _may_kill() -> ColumnElement[bool]:
    # One that used up its attempts may have killed whoever ran it; one that failed by itself did not.
    return case(
        (jobs.c.error_code == AttemptsExhausted.code, true()),
        (jobs.c.error_code.is_not(None), false()),
        else_=jobs.c.alone,
    )


_LOCK = Statement(_lock)
_BEGIN = Statement(_begin)
