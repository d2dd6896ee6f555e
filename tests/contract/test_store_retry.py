"""What a retry promises: an ended job runs once more, and nothing of its former life reaches it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from shared.database import Database
from shared.errors import LeaseLost, NotFound
from shared.jobs import (
    LOCAL,
    Claim,
    Failure,
    FileId,
    Job,
    JobState,
    NewJob,
    Priority,
    Progress,
    Success,
    TenantId,
    WorkerId,
)
from shared.store import JobStore
from shared.tables import tenant_clocks
from tests.contract.waiting import until_waiting

Submit = Callable[..., Job]
Claiming = Callable[..., Claim]
Later = Callable[[timedelta], None]

W1 = WorkerId("worker-1")
BROKEN = Failure(code="model_failed", message="it broke", retryable=False)
TRANSIENT = Failure(code="timeout", message="slow", retryable=True)


def _fail(store: JobStore, claim: Claiming) -> Job:
    held = claim()
    store.heartbeat(W1, {held.id: held.attempt}, {held.id: Progress(fraction=0.5, stage="fuse", preview="p")})
    store.fail(held, BROKEN)
    return store.get(LOCAL, held.id)


def _cancel(store: JobStore, claim: Claiming) -> Job:
    return store.cancel(LOCAL, claim().id)


@pytest.fixture
def failed(store: JobStore, submit: Submit, claim: Claiming) -> Job:
    """Return a job that failed at its first attempt."""
    submit(input={"image": {"file": "a" * 64}}, labels={"team": "blue"})
    return _fail(store, claim)


@pytest.fixture
def dead(store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]) -> Job:
    """Return a job that was lost with its worker as often as it may be."""
    job = submit()
    for _ in range(3):
        claim()
        lease_ends()
        store.expire_leases()
    return store.get(LOCAL, job.id)


def test_a_retried_job_is_the_same_job_queued_anew(store: JobStore, failed: Job) -> None:
    job = store.retry(LOCAL, failed.id)

    assert store.get(LOCAL, failed.id) == job
    assert (job.id, job.input, job.labels) == (failed.id, failed.input, failed.labels)
    assert (job.state, job.generation, job.version) == (JobState.QUEUED, 2, failed.version + 1)
    assert (job.error, job.result, job.started_at, job.finished_at, job.expires_at) == (None,) * 5
    assert job.progress == Progress()
    assert job.created_at == failed.created_at
    assert job.retried_at is not None
    assert job.timings_ms == {}


def test_a_retried_job_runs_and_succeeds(store: JobStore, failed: Job, claim: Claiming) -> None:
    store.retry(LOCAL, failed.id)
    held = claim()
    store.succeed(held, Success(result={"dim": 1}))

    job = store.get(LOCAL, failed.id)
    assert (job.state, job.result, job.generation) == (JobState.SUCCEEDED, {"dim": 1}, 2)
    assert (held.attempt, job.attempt) == (2, 2)


def test_what_held_the_job_before_cannot_touch_its_new_generation(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    submit()
    stale = claim()
    store.fail(stale, BROKEN)
    store.retry(LOCAL, stale.id)

    for take in (lambda: None, lambda: claim("worker-2")):
        take()
        with pytest.raises(LeaseLost):
            store.succeed(stale, Success(result={"by": "a ghost"}))
        assert store.heartbeat(W1, {stale.id: stale.attempt}, {}).lost == {stale.id}


def test_a_new_generation_has_all_its_attempts(store: JobStore, dead: Job, claim: Claiming) -> None:
    store.retry(LOCAL, dead.id)
    states = [store.requeue(claim(), TRANSIENT, timedelta(0)) for _ in range(3)]

    assert states == [JobState.RUNNING, JobState.RUNNING, JobState.FAILED]
    assert store.get(LOCAL, dead.id).attempt == 6


def test_what_may_have_killed_its_workers_runs_alone_again(store: JobStore, dead: Job) -> None:
    assert dead.error is not None
    assert dead.error.code == "attempts_exhausted"
    store.retry(LOCAL, dead.id)

    assert store.claim(W1, ["default"]) == []
    assert [held.id for held in store.claim(W1, ["default"], suspects=True)] == [dead.id]


def test_a_suspect_that_was_canceled_runs_alone_again(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    job = submit()
    claim()
    lease_ends()
    store.expire_leases()
    store.cancel(LOCAL, job.id)
    store.retry(LOCAL, job.id)

    assert not store.has_work(["default"])
    assert store.has_suspects(["default"])


def test_a_suspect_that_failed_by_itself_is_none_any_more(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    submit()
    claim()
    lease_ends()
    store.expire_leases()
    store.retry(LOCAL, _fail(store, claim).id)

    assert store.has_work(["default"])
    assert not store.has_suspects(["default"])


def test_canceled_and_expired_jobs_can_be_retried(store: JobStore, submit: Submit, later: Later) -> None:
    canceled = store.cancel(LOCAL, submit().id)
    expired = submit(start_within=timedelta(minutes=1))
    later(timedelta(minutes=2))
    store.expire_deadlines()

    assert store.get(LOCAL, expired.id).state is JobState.EXPIRED
    for job in (canceled, expired):
        assert store.retry(LOCAL, job.id).state is JobState.QUEUED


@pytest.mark.parametrize("state", ["queued", "running", "waiting", "canceling", "succeeded"])
def test_a_job_that_goes_on_or_succeeded_stays_as_it_is(
    store: JobStore, submit: Submit, claim: Claiming, state: str
) -> None:
    job = submit()
    held = None if state == "queued" else claim()
    if held and state == "waiting":
        store.requeue(held, TRANSIENT, timedelta(0))
    elif held and state == "canceling":
        store.cancel(LOCAL, job.id)
    elif held and state == "succeeded":
        store.succeed(held, Success(result={}))
    before = store.get(LOCAL, job.id)

    assert store.retry(LOCAL, job.id) == store.get(LOCAL, job.id) == before


def test_a_retry_that_comes_twice_happens_once(store: JobStore, failed: Job, claim: Claiming) -> None:
    store.retry(LOCAL, failed.id, generation=1)
    again = _fail(store, claim)

    assert store.retry(LOCAL, failed.id, generation=1) == again
    assert store.retry(LOCAL, failed.id, generation=2).generation == 3


def test_retries_at_the_same_moment_begin_one_generation(
    database: Database, store: JobStore, failed: Job
) -> None:
    with ThreadPoolExecutor(8) as pool:
        with database.begin() as connection:
            # They need this row, so that all of them are under way before one can end.
            connection.execute(update(tenant_clocks).values(vtime=tenant_clocks.c.vtime))
            retries = [pool.submit(store.retry, LOCAL, failed.id) for _ in range(8)]
            until_waiting(database, 8)
        found = [retry.result() for retry in retries]
    assert {(job.generation, job.version) for job in found} == {(2, failed.version + 1)}


def test_the_time_to_start_within_counts_from_the_retry(
    store: JobStore, submit: Submit, later: Later
) -> None:
    job = submit(start_within=timedelta(minutes=10))
    for _ in range(3):
        later(timedelta(minutes=9))
        assert store.expire_deadlines() == 0
        later(timedelta(minutes=2))
        assert store.expire_deadlines() == 1
        store.retry(LOCAL, job.id)


def test_a_retried_job_waits_behind_what_its_tenant_has_waiting(
    store: JobStore, failed: Job, submit: Submit, claim: Claiming
) -> None:
    waiting = [submit().id for _ in range(3)]
    store.retry(LOCAL, failed.id)
    assert [claim().id for _ in range(4)] == [*waiting, failed.id]


def test_a_retried_job_keeps_its_priority_and_tells_its_position(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit(priority=Priority.HIGH)
    _fail(store, claim)
    submit()
    store.retry(LOCAL, job.id)
    assert store.get(LOCAL, job.id, with_position=True).position == 0


def test_a_retried_job_is_not_purged_and_keeps_its_blobs(store: JobStore, failed: Job, later: Later) -> None:
    later(timedelta(days=6))
    store.retry(LOCAL, failed.id)
    later(timedelta(days=30))

    assert store.purge() == []
    assert store.get(LOCAL, failed.id).state is JobState.QUEUED
    store.cancel(LOCAL, failed.id)
    later(timedelta(days=8))
    assert store.purge() == [FileId("a" * 64)]


def test_times_are_told_from_the_retry(store: JobStore, failed: Job, claim: Claiming, later: Later) -> None:
    later(timedelta(hours=1))
    store.retry(LOCAL, failed.id)
    held = claim()
    store.succeed(held, Success(result={}))

    timings = store.get(LOCAL, failed.id).timings_ms
    assert held.queued_for < timedelta(minutes=1)
    assert 0 <= timings["queue"] <= timings["total"] < 60_000


def test_a_foreign_job_is_an_unknown_job(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    (job,) = store.create([new_job(tenant=TenantId("ada"))])
    store.cancel(TenantId("ada"), job.id)
    for tenant, job_id in ((TenantId("bob"), job.id), (TenantId("ada"), "job_0")):
        with pytest.raises(NotFound):
            store.retry(tenant, job_id)  # type: ignore[arg-type]  # any text
    assert store.get(TenantId("ada"), job.id).state is JobState.CANCELED


def test_a_watcher_sees_the_new_generation(store: JobStore, failed: Job) -> None:
    store.retry(LOCAL, failed.id)
    assert store.versions([failed.id]) == {failed.id: (failed.version + 1, JobState.QUEUED)}
