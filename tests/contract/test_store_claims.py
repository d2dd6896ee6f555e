"""What a worker may rely on: claims, fences, the attempts' budget, heartbeats."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.errors import AttemptsExhausted, LeaseLost
from shared.jobs import (
    LOCAL,
    Artifact,
    Claim,
    Failure,
    FileId,
    Job,
    JobId,
    JobState,
    NewJob,
    Priority,
    Progress,
    Success,
    WorkerId,
)
from shared.store import JobStore

Submit = Callable[..., Job]
Claiming = Callable[..., Claim]
Later = Callable[[timedelta], None]

W1, W2 = WorkerId("worker-1"), WorkerId("worker-2")
OK = Success(result={"answer": 42})
TRANSIENT = Failure(code="blobs_unavailable", message="no answer", retryable=True)
ENDINGS: dict[str, Callable[[JobStore, Claim], object]] = {
    "succeed": lambda store, claim: store.succeed(claim, OK),
    "fail": lambda store, claim: store.fail(claim, TRANSIENT),
    "requeue": lambda store, claim: store.requeue(claim, TRANSIENT, timedelta(0)),
    "release": lambda store, claim: store.release(claim),
    "confirm_canceled": lambda store, claim: store.confirm_canceled(claim),
}
every_ending = pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS.keys())


def test_a_claim_carries_what_a_worker_needs(store: JobStore, submit: Submit, later: Later) -> None:
    job = submit(input={"texts": ["x"]}, labels={"a": "b"}, timeout=timedelta(seconds=9))
    later(timedelta(seconds=7))
    (claim,) = store.claim(W1, ["default"])
    assert timedelta(seconds=7) <= claim.queued_for < timedelta(seconds=60)
    assert claim == Claim(
        id=job.id,
        attempt=1,
        tenant=LOCAL,
        task="embed",
        pool="default",
        input={"texts": ["x"]},
        labels={"a": "b"},
        alone=False,
        timeout=timedelta(seconds=9),
        queued_for=claim.queued_for,
    )
    running = store.get(LOCAL, job.id)
    assert (running.state, running.attempt) == (JobState.RUNNING, 1)
    # PostgreSQL looks at its clock twice.
    assert abs(running.timings_ms["queue"] - claim.queued_for / timedelta(milliseconds=1)) <= 1


def test_priority_comes_before_age(store: JobStore, submit: Submit) -> None:
    low, normal, high = (
        submit(priority=priority) for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
    )
    assert [claim.id for claim in store.claim(W1, ["default"], limit=9)] == [high.id, normal.id, low.id]


def test_a_pool_is_claimed_only_by_its_workers(store: JobStore, submit: Submit) -> None:
    job = submit(pool="gpu")
    assert store.claim(W1, ["default"]) == []
    assert store.claim(W1, []) == []
    assert [claim.id for claim in store.claim(W1, ["default", "gpu"])] == [job.id]


def test_a_busy_pool_does_not_starve_the_other(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    store.create([new_job(pool=pool) for pool in ("a", "b") for _ in range(10)])
    pools = [store.claim(W1, ["a", "b"])[0].pool for _ in range(6)]
    assert Counter(pools) == {"a": 3, "b": 3}


def test_a_claim_takes_no_more_than_its_limit(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    store.create([new_job() for _ in range(5)])
    assert [len(store.claim(W1, ["default"], limit=limit)) for limit in (0, 2, 9)] == [0, 2, 3]


def test_eight_workers_never_claim_one_job_twice(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    created = store.create([new_job() for _ in range(400)])
    start = threading.Barrier(8)
    claimed: list[list[JobId]] = [[] for _ in range(8)]

    def work(place: int) -> None:
        start.wait()
        while claims := store.claim(WorkerId(f"worker-{place}"), ["default"], limit=1 + place % 4):
            claimed[place] += [claim.id for claim in claims]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Counter(job for jobs in claimed for job in jobs) == Counter(job.id for job in created)


def test_has_work_tells_whether_a_claim_would_find_any(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    assert not store.has_work(["default"])
    submit()
    assert store.has_work(["another", "default"])
    assert not store.has_work(["another"])
    store.requeue(claim(), TRANSIENT, timedelta(minutes=1))
    assert not store.has_work(["default"])


def test_success_is_stored_whole(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job = submit(retain=timedelta(hours=1))
    artifact = Artifact(name="overlay", file=FileId("a" * 64), media_type="image/png", bytes=70)
    success = Success(
        result={"labels": [{"label": "cat", "score": 0.1}]},
        artifacts=[artifact],
        provenance={"device": "cpu"},
        timings_ms={"model": 12.5},
        batch_size=4,
    )
    assert store.succeed(claim(), success) is JobState.SUCCEEDED
    done = store.get(LOCAL, job.id)
    assert (done.state, done.result, done.artifacts) == (JobState.SUCCEEDED, success.result, [artifact])
    assert (done.provenance, done.batch_size, done.progress.fraction) == ({"device": "cpu"}, 4, 1.0)
    assert done.timings_ms.keys() == {"queue", "model", "total"}
    assert done.finished_at is not None
    assert done.expires_at is not None
    assert abs(done.expires_at - done.finished_at - timedelta(hours=1)) <= timedelta(milliseconds=1)


def test_a_large_result_is_kept_as_a_blob(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job = submit()
    store.succeed(claim(), Success(result={"much": "x"}, result_file=FileId("b" * 64)))
    done = store.get(LOCAL, job.id)
    assert (done.result, done.result_file) == (None, "b" * 64)


def test_failure_is_stored_whatever_its_message_quotes(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit()
    store.fail(claim(), Failure(code="image_corrupt", message="bad\0name\udcff", retryable=False))
    failed = store.get(LOCAL, job.id)
    assert failed.state is JobState.FAILED
    assert failed.error == Failure(
        code="image_corrupt", message="bad\N{REPLACEMENT CHARACTER}name?", retryable=False
    )


@every_ending
def test_a_worker_that_lost_its_lease_cannot_touch_a_waiting_job(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None],
    end: Callable[[JobStore, Claim], object],
) -> None:  # fmt: skip
    job = submit()
    lost = claim()
    lease_ends()
    store.expire_leases()
    before = store.get(LOCAL, job.id)
    with pytest.raises(LeaseLost):
        end(store, lost)
    assert store.get(LOCAL, job.id) == before


@every_ending
def test_a_worker_that_lost_its_lease_cannot_overwrite_its_successor(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None],
    end: Callable[[JobStore, Claim], object],
) -> None:  # fmt: skip
    job = submit()
    lost = claim("worker-1")
    lease_ends()
    store.expire_leases()
    successor = claim("worker-2")
    before = store.get(LOCAL, job.id)
    with pytest.raises(LeaseLost):
        end(store, lost)
    assert store.get(LOCAL, job.id) == before
    assert store.succeed(successor, OK) is JobState.SUCCEEDED
    assert store.get(LOCAL, job.id).result == OK.result
    with pytest.raises(LeaseLost):
        end(store, lost)


@every_ending
@pytest.mark.parametrize("first", ENDINGS.values(), ids=ENDINGS.keys())
def test_a_claim_ends_once(
    store: JobStore, submit: Submit, claim: Claiming,
    first: Callable[[JobStore, Claim], object], end: Callable[[JobStore, Claim], object],
) -> None:  # fmt: skip
    job = submit()
    held = claim()
    store.cancel(LOCAL, job.id)
    first(store, held)
    ended = store.get(LOCAL, job.id)
    with pytest.raises(LeaseLost):
        end(store, held)
    assert store.get(LOCAL, job.id) == ended


@every_ending
def test_a_cancelled_job_ends_canceled_without_result_or_error(
    store: JobStore, submit: Submit, claim: Claiming, end: Callable[[JobStore, Claim], object]
) -> None:
    job = submit()
    held = claim()
    store.cancel(LOCAL, job.id)
    end(store, held)
    canceled = store.get(LOCAL, job.id)
    assert (canceled.state, canceled.result, canceled.error) == (JobState.CANCELED, None, None)


def test_what_nobody_cancelled_cannot_be_confirmed(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job = submit()
    with pytest.raises(LeaseLost):
        store.confirm_canceled(claim())
    assert store.get(LOCAL, job.id).state is JobState.RUNNING


def test_cancel_and_succeed_never_both(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    created = store.create([new_job() for _ in range(60)])
    claims = store.claim(W1, ["default"], limit=60)
    start = threading.Barrier(2)
    answers: dict[JobId, JobState] = {}

    def settle() -> None:
        start.wait()
        for claim in claims:
            answers[claim.id] = store.succeed(claim, OK)

    thread = threading.Thread(target=settle)
    thread.start()
    start.wait()
    asked = {job.id: store.cancel(LOCAL, job.id) for job in created}
    thread.join(60)
    for job in created:
        final = store.get(LOCAL, job.id)
        assert answers[job.id] is final.state
        cancelled_in_time = asked[job.id].state is JobState.CANCELING
        assert final.state is (JobState.CANCELED if cancelled_in_time else JobState.SUCCEEDED)
        assert (final.result is None) == cancelled_in_time


def test_a_requeued_job_stays_running_for_its_user_and_waits_its_time(
    store: JobStore, submit: Submit, claim: Claiming, later: Later
) -> None:
    job = submit()
    assert store.requeue(claim(), TRANSIENT, timedelta(seconds=10)) is JobState.RUNNING
    waiting = store.get(LOCAL, job.id)
    assert (waiting.state, waiting.attempt, waiting.error) == (JobState.RUNNING, 1, None)
    assert store.claim(W2, ["default"]) == []
    later(timedelta(seconds=11))
    again = claim("worker-2")
    assert (again.id, again.attempt, again.alone) == (job.id, 2, False)
    assert timedelta(seconds=11) <= again.queued_for < timedelta(seconds=60)


def test_the_first_claim_stays_the_start(
    store: JobStore, submit: Submit, claim: Claiming, later: Later
) -> None:
    job = submit()
    held = claim()
    first = store.get(LOCAL, job.id)
    store.requeue(held, TRANSIENT, timedelta(0))
    later(timedelta(seconds=5))
    claim()
    second = store.get(LOCAL, job.id)
    assert second.timings_ms == first.timings_ms
    assert first.started_at is not None
    assert second.started_at == first.started_at - timedelta(seconds=5)


def test_the_last_attempt_ends_with_the_last_failure(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit()
    states = [store.requeue(claim(), TRANSIENT, timedelta(0)) for _ in range(3)]
    assert states == [JobState.RUNNING, JobState.RUNNING, JobState.FAILED]
    error = store.get(LOCAL, job.id).error
    assert error is not None
    assert error.code == AttemptsExhausted.code
    assert "blobs_unavailable: no answer" in error.message


def test_a_released_job_keeps_its_budget_but_not_its_fence(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit()
    for attempt in range(1, 8):
        held = claim()
        assert held.attempt == attempt
        store.release(held)
    assert store.get(LOCAL, job.id).state is JobState.RUNNING
    for _ in range(3):
        store.requeue(claim(), TRANSIENT, timedelta(0))
    last = store.get(LOCAL, job.id)
    assert (last.state, last.attempt) == (JobState.FAILED, 10)


def test_a_heartbeat_renews_every_lease(
    store: JobStore, new_job: Callable[..., NewJob], later: Later
) -> None:
    store.create([new_job() for _ in range(450)])
    claims = store.claim(W1, ["default"], limit=450)
    for _ in range(3):
        later(timedelta(seconds=20))
        beat = store.heartbeat(W1, {claim.id: claim.attempt for claim in claims}, {})
        assert (beat.lost, beat.canceling) == (frozenset(), frozenset())
        assert store.expire_leases() == 0
    later(timedelta(seconds=31))
    assert store.expire_leases() == 450


def test_a_heartbeat_tells_what_was_lost_and_what_is_cancelled(
    store: JobStore, new_job: Callable[..., NewJob], lease_ends: Callable[[], None]
) -> None:
    lost, requeued, done, canceling, fine = (job.id for job in store.create([new_job() for _ in range(5)]))
    claims = {claim.id: claim for claim in store.claim(W1, ["default"], limit=2)}
    lease_ends()
    store.expire_leases()
    successors = {claim.id: claim for claim in store.claim(W2, ["default"], limit=2, suspects=True)}
    store.requeue(successors[requeued], TRANSIENT, timedelta(0))
    store.requeue(store.claim(W2, ["default"], suspects=True)[0], TRANSIENT, timedelta(hours=1))
    claims |= {claim.id: claim for claim in store.claim(W1, ["default"], limit=3)}
    store.succeed(claims[done], OK)
    store.cancel(LOCAL, canceling)
    beat = store.heartbeat(
        W1, {job: claim.attempt for job, claim in claims.items()} | {JobId("job_0"): 1}, {}
    )
    assert beat.lost == {lost, requeued, done, JobId("job_0")}
    assert beat.canceling == {canceling}
    assert fine in claims


def test_a_heartbeat_renews_no_foreign_lease(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job = submit()
    held = claim("worker-1")
    assert store.heartbeat(W2, {job.id: held.attempt}, {}).lost == {job.id}


def test_a_heartbeat_renews_no_former_attempt_of_the_same_worker(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    job = submit()
    claim("worker-1")
    lease_ends()
    store.expire_leases()
    claim("worker-1")
    assert store.heartbeat(W1, {job.id: 1}, {}).lost == {job.id}
    assert store.heartbeat(W1, {job.id: 2}, {}).lost == frozenset()


def test_progress_is_stored_and_never_falls(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job, other = submit(), submit()
    held, _ = claim(), claim()

    def report(fraction: float, stage: str) -> Job:
        progress = Progress(fraction=fraction, stage=stage, message="m\0")
        store.heartbeat(W1, {job.id: held.attempt, other.id: 1}, {job.id: progress})
        return store.get(LOCAL, job.id)

    stored = report(0.5, "convert")
    assert stored.progress == Progress(fraction=0.5, stage="convert", message="m\N{REPLACEMENT CHARACTER}")
    assert report(0.2, "extract") == stored
    assert report(0.5, "convert") == stored
    assert report(0.5, "fuse").version == stored.version + 1
    assert store.get(LOCAL, other.id).progress == Progress()


def test_the_next_attempt_begins_without_progress(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job = submit()
    held = claim()
    store.heartbeat(W1, {job.id: 1}, {job.id: Progress(fraction=0.9, stage="output")})
    store.requeue(held, TRANSIENT, timedelta(0))
    assert store.get(LOCAL, job.id).progress.fraction == 0.9
    claim()
    assert store.get(LOCAL, job.id).progress == Progress()


def test_a_heartbeat_for_nothing_answers_nothing(store: JobStore) -> None:
    beat = store.heartbeat(W1, {}, {})
    assert (beat.lost, beat.canceling) == (frozenset(), frozenset())
