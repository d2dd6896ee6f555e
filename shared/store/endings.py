"""The ways a claim ends, each one statement that applies only while the claim holds its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, bindparam, cast, update

from shared.errors import AttemptsExhausted
from shared.jobs import Failure, JobState
from shared.store.messages import TOLD
from shared.store.moves import CANCELING, FENCE, RUNNING, Columns, ended, waiting
from shared.store.rows import storable
from shared.store.statements import Statement
from shared.tables import jobs


@dataclass(frozen=True, slots=True)
class Ending:
    """One of them."""

    #: The job's, afterwards.
    state: JobState
    #: Answers a row if it applied: id, and whom to tell if it is an end.
    statement: Statement


def why(failure: Failure) -> Columns:
    """Return the values that `FAIL` and `EXHAUST` store."""
    return {
        "error_code": failure.code,
        "error_message": storable(failure.message),
        "error_retryable": failure.retryable,
    }


def exhausted_by(message: str) -> Failure:
    """Return the failure of a job that has no attempt left."""
    return Failure(code=AttemptsExhausted.code, message=message, retryable=AttemptsExhausted.retryable)


def _ending(state: JobState, applies: ColumnElement[bool], columns: Columns) -> Ending:
    moved = update(jobs).where(FENCE, applies).values(columns).returning(jobs.c.id, *TOLD)
    return Ending(state, Statement(lambda _: moved))


def _given(*names: str) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


_WHY = _given("error_code", "error_message", "error_retryable")
_WAITING = waiting(cast(bindparam("delay_ms"), BigInteger))

SUCCEED = _ending(
    JobState.SUCCEEDED,
    RUNNING,
    ended(JobState.SUCCEEDED)
    | _given("result", "result_file", "artifacts", "provenance", "timings_ms", "batch_size", "cache_key")
    | _given("stored_bytes")
    | {"fraction": 1.0},
)
FAIL = _ending(JobState.FAILED, RUNNING, ended(JobState.FAILED) | _WHY)
REQUEUE = _ending(JobState.RUNNING, RUNNING & (jobs.c.tries_left > 0), _WAITING)
#: After `REQUEUE` did not apply.
EXHAUST = _ending(JobState.FAILED, RUNNING, ended(JobState.FAILED) | _WHY)
RELEASE = _ending(JobState.RUNNING, RUNNING, _WAITING | {"tries_left": jobs.c.tries_left + 1})
CANCEL = _ending(JobState.CANCELED, CANCELING, ended(JobState.CANCELED))
