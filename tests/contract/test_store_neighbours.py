"""A worker that is known to be dead loses its jobs at once; one that lacks something gives a job back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.errors import LeaseLost
from shared.jobs import LOCAL, Failure, Job, JobState, Success, WorkerId
from shared.store import JobStore

DEAD, OTHER = WorkerId("dead"), WorkerId("other")
NOW = timedelta(0)


def test_only_the_dead_workers_jobs_are_taken_away_and_run_alone(
    store: JobStore, submit: Callable[..., Job]
) -> None:
    theirs, others = submit(), submit()
    [lost] = store.claim(DEAD, ["default"])
    [kept] = store.claim(OTHER, ["default"])
    assert [lost.id, kept.id] == [theirs.id, others.id]

    assert store.expire_leases_of([DEAD, WorkerId("idle")]) == 1

    [again] = store.claim(OTHER, ["default"], suspects=True)
    assert (again.id, again.attempt, again.alone) == (theirs.id, 2, True)
    with pytest.raises(LeaseLost):
        store.succeed(lost, Success(result={}))
    assert store.succeed(kept, Success(result={})) is JobState.SUCCEEDED


def test_nobody_dead_is_nothing_to_do(store: JobStore, submit: Callable[..., Job]) -> None:
    submit()
    store.claim(OTHER, ["default"])
    assert store.expire_leases_of([]) == 0


def test_a_dead_workers_job_that_was_being_canceled_is_canceled(
    store: JobStore, submit: Callable[..., Job]
) -> None:
    job = submit()
    store.claim(DEAD, ["default"])
    store.cancel(LOCAL, job.id)
    assert store.expire_leases_of([DEAD]) == 1
    assert store.get(LOCAL, job.id).state is JobState.CANCELED


def test_a_dead_workers_job_without_an_attempt_left_fails(
    store: JobStore, submit: Callable[..., Job]
) -> None:
    job = submit()
    for _ in range(2):
        [claim] = store.claim(OTHER, ["default"])
        store.requeue(claim, Failure(code="internal", message="again", retryable=True), NOW)
    store.claim(DEAD, ["default"])
    assert store.expire_leases_of([DEAD]) == 1
    ended = store.get(LOCAL, job.id)
    assert (ended.state, ended.error and ended.error.code) == (JobState.FAILED, "attempts_exhausted")


def test_a_job_that_is_given_back_for_a_while_keeps_its_attempts(
    store: JobStore, submit: Callable[..., Job], later: Callable[[timedelta], None]
) -> None:
    job = submit()
    for attempt in range(1, 8):
        [claim] = store.claim(OTHER, ["default"])
        assert claim.attempt == attempt
        assert store.release(claim, timedelta(seconds=30)) is JobState.RUNNING
        assert store.claim(OTHER, ["default"]) == [], "it waits"
        later(timedelta(seconds=31))
    assert store.get(LOCAL, job.id).state is JobState.RUNNING
