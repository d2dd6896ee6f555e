"""What time does to jobs: leases, deadlines, retention."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from shared.errors import AttemptsExhausted
from shared.jobs import (
    LOCAL,
    Artifact,
    Claim,
    Failure,
    FileId,
    Job,
    JobState,
    NewJob,
    Success,
    TenantId,
    WorkerId,
)
from shared.store import JobStore

Submit = Callable[..., Job]
Claiming = Callable[..., Claim]
Later = Callable[[timedelta], None]

W1 = WorkerId("worker-1")
A, B, C, D = (FileId(letter * 64) for letter in "abcd")


def test_a_dead_workers_job_runs_again_alone(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    job = submit()
    claim("worker-1")
    lease_ends()
    assert store.expire_leases() == 1
    assert store.get(LOCAL, job.id).state is JobState.RUNNING
    again = claim("worker-2")
    assert (again.id, again.attempt, again.alone) == (job.id, 2, True)


def test_a_suspect_is_claimed_by_nobody_who_did_not_ask_for_one(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    suspect = submit()
    claim("worker-1")
    lease_ends()
    store.expire_leases()
    other = submit()
    pools = ["another", "default"]

    assert (store.has_work(pools), store.has_suspects(pools)) == (True, True)
    assert [found.id for found in store.claim(W1, pools, 10)] == [other.id]
    assert (store.has_work(pools), store.has_suspects(pools)) == (False, True)
    assert [found.id for found in store.claim(W1, pools, 10, suspects=True)] == [suspect.id]
    assert not store.has_suspects(pools)


def test_a_lease_that_runs_is_left_alone(
    store: JobStore, submit: Submit, claim: Claiming, later: Later
) -> None:
    submit()
    held = claim()
    later(timedelta(seconds=29))
    assert store.expire_leases() == 0
    assert store.succeed(held, Success(result={})) is JobState.SUCCEEDED


def test_a_late_worker_may_settle_what_nobody_took(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    submit()
    held = claim()
    lease_ends()
    assert store.succeed(held, Success(result={})) is JobState.SUCCEEDED


def test_a_job_that_keeps_losing_its_worker_fails(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    job = submit()
    for _ in range(3):
        claim()
        lease_ends()
        assert store.expire_leases() == 1
    failed = store.get(LOCAL, job.id)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == AttemptsExhausted.code
    assert failed.expires_at is not None


def test_a_dead_workers_canceling_job_is_canceled(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    job = submit()
    claim()
    store.cancel(LOCAL, job.id)
    lease_ends()
    assert store.expire_leases() == 1
    assert store.get(LOCAL, job.id).state is JobState.CANCELED


def test_a_missed_start_expires_the_job(store: JobStore, submit: Submit, later: Later) -> None:
    late = submit(start_within=timedelta(seconds=5))
    patient = submit(start_within=timedelta(minutes=5))
    carefree = submit()
    later(timedelta(seconds=6))
    assert store.expire_deadlines() == 1
    assert store.expire_deadlines() == 0
    states = [store.get(LOCAL, job.id).state for job in (late, patient, carefree)]
    assert states == [JobState.EXPIRED, JobState.QUEUED, JobState.QUEUED]
    assert store.get(LOCAL, late.id).expires_at is not None


def test_a_missed_start_is_not_made_up_for(store: JobStore, submit: Submit, later: Later) -> None:
    submit(start_within=timedelta(seconds=5))
    later(timedelta(seconds=6))
    assert store.claim(W1, ["default"]) == []
    assert not store.has_work(["default"])
    assert store.backlog() == {}


def test_a_job_that_started_in_time_may_wait_for_its_next_attempt(
    store: JobStore, submit: Submit, claim: Claiming, later: Later
) -> None:
    job = submit(start_within=timedelta(seconds=5))
    store.requeue(claim(), Failure(code="timeout", message="slow"), timedelta(0))
    later(timedelta(seconds=6))
    assert store.expire_deadlines() == 0
    assert claim().id == job.id


def test_backlog_counts_what_is_claimable_now(store: JobStore, submit: Submit, claim: Claiming) -> None:
    submit(pool="gpu")
    submit(pool="gpu")
    store.cancel(LOCAL, submit(pool="gpu").id)
    submit()
    store.requeue(claim(), Failure(code="timeout", message="slow"), timedelta(hours=1))
    submit()
    claim()
    assert store.backlog() == {"gpu": 2}


def test_backlog_counts_no_further_than_it_was_asked_to(
    store: JobStore, new_job: Callable[..., NewJob]
) -> None:
    store.create([new_job(pool=pool) for pool in ("cpu", "gpu", "gpu", "gpu", "Zoo")])
    assert store.backlog(2) == {"cpu": 1, "gpu": 2, "Zoo": 1}
    assert store.backlog() == {"cpu": 1, "gpu": 3, "Zoo": 1}


def _upload(store: JobStore, file: FileId, tenant: TenantId = LOCAL) -> None:
    store.add_file(tenant, file, media_type="image/png", size=1, width=1, height=1)


def _made(file: FileId) -> Success:
    return Success(result={}, artifacts=[Artifact(name="n", file=file, media_type="image/png", bytes=1)])


def test_purge_deletes_what_is_past_its_retention(store: JobStore, submit: Submit, later: Later) -> None:
    gone = store.cancel(LOCAL, submit(retain=timedelta(hours=1)).id)
    kept = store.cancel(LOCAL, submit(retain=timedelta(hours=3)).id)
    queued = submit(retain=timedelta(hours=1))
    later(timedelta(hours=2))
    assert store.purge() == []
    assert {job.id for job in store.list(LOCAL)[0]} == {kept.id, queued.id}
    assert gone.id not in store.versions([gone.id])


def test_purge_returns_what_ended_jobs_made(
    store: JobStore, submit: Submit, claim: Claiming, later: Later
) -> None:
    submit()
    store.succeed(claim(), Success(result={}, result_file=B, artifacts=_made(A).artifacts))
    assert store.purge() == []
    later(timedelta(days=8))
    assert store.purge() == [A, B]
    assert store.purge() == []


def test_purge_keeps_a_blob_that_someone_still_names(
    store: JobStore, new_job: Callable[..., NewJob], claim: Claiming, later: Later
) -> None:
    # A: also an upload, B: also another job's artifact, C: also the input of a job, D: nobody else's.
    _upload(store, A, TenantId("ada"))
    for file in (A, B, C, D):
        store.create([new_job()])
        store.succeed(claim(), _made(file))
    later(timedelta(days=5))
    store.create([new_job(), new_job(input={"images": [{"file": C}]})])
    store.succeed(claim(), _made(B))
    later(timedelta(days=3))
    assert store.purge() == [D]


def test_purge_returns_an_input_that_was_never_uploaded(
    store: JobStore, submit: Submit, later: Later
) -> None:
    _upload(store, A)
    store.cancel(
        LOCAL, submit(input={"images": [{"file": A}, {"file": B}], "style": {"image": {"file": B}}}).id
    )
    later(timedelta(days=8))
    assert store.purge() == [B]


def test_purge_goes_step_by_step(store: JobStore, new_job: Callable[..., NewJob], later: Later) -> None:
    for job in store.create([new_job() for _ in range(5)]):
        store.cancel(LOCAL, job.id)
    later(timedelta(days=8))
    left = []
    for _ in range(3):
        store.purge(limit=2)
        left.append(len(store.list(LOCAL)[0]))
    assert left == [3, 1, 0]
