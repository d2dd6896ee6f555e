"""The columns that a job's move sets, and the fence around them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, or_

from shared.database import now
from shared.errors import AttemptsExhausted
from shared.jobs import Failure, JobState
from shared.store.rows import storable
from shared.tables import jobs

Columns = dict[str, Any]

#: What ends a job that its user cancelled, whichever way its attempt ended.
CANCELING = jobs.c.state == JobState.CANCELING.value
RUNNING = jobs.c.state == JobState.RUNNING.value
HELD = jobs.c.worker.is_not(None)


#: True of a row only while a claim, whose `held_id` and `held_attempt` are given, holds it. The attempt alone
#: would not do: a requeued job keeps its number until the next claim.
FENCE = and_(jobs.c.id == bindparam("held_id"), jobs.c.attempt == bindparam("held_attempt"), HELD)


def due(moment: ColumnElement[int]) -> ColumnElement[bool]:
    """Return what is true of a job that may be claimed at a moment; a missed start is not made up for."""
    in_time = or_(jobs.c.start_by.is_(None), jobs.c.start_by > moment, jobs.c.state != JobState.QUEUED.value)
    return and_(jobs.c.claimable, jobs.c.run_after <= moment, in_time)


def ended(state: JobState) -> Columns:
    """Return the columns of a job that reached a terminal state; nobody holds or claims it any more."""
    return {
        "state": state.value,
        "version": jobs.c.version + 1,
        "claimable": False,
        "worker": None,
        "lease_until": None,
        "preview": None,
        "finished_at": now(),
        "expires_at": now() + jobs.c.retain_ms,
    }


def failed(failure: Failure) -> Columns:
    """Return the columns of a job that ended with an error."""
    return ended(JobState.FAILED) | {
        "error_code": failure.code,
        "error_message": storable(failure.message),
        "error_retryable": failure.retryable,
    }


def exhausted(message: str) -> Columns:
    """Return the columns of a job that has no attempt left."""
    return failed(
        Failure(code=AttemptsExhausted.code, message=message, retryable=AttemptsExhausted.retryable)
    )


def waiting(delay_ms: ColumnElement[int] | int = 0) -> Columns:
    """Return the columns of a job that waits for its next attempt; its state stays as it is."""
    return {
        "version": jobs.c.version + 1,
        "claimable": True,
        "worker": None,
        "lease_until": None,
        "queued_at": now(),
        "run_after": now() + delay_ms,
    }
