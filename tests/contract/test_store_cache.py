"""The result cache: what may answer whom, and what an answer keeps alive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.jobs import (
    LOCAL,
    Artifact,
    Claim,
    FileId,
    Job,
    JobId,
    JobState,
    NewJob,
    Success,
    TenantId,
    WorkerId,
)
from shared.store import JobStore

Make = Callable[..., NewJob]
Submit = Callable[..., Job]
Claiming = Callable[..., Claim]
Later = Callable[[timedelta], None]

KEY, OTHER = "k" * 64, "o" * 64
A, B, C = (FileId(letter * 64) for letter in "abc")
ADA, BOB = TenantId("ada"), TenantId("bob")
SUCCESS = Success(
    result={"labels": [{"label": "naïve \u0000", "score": 0.5}]},
    artifacts=[Artifact(name="overlay", file=A, media_type="image/png", bytes=70)],
    provenance={"profile": "starter"},
    timings_ms={"model": 3.0},
    batch_size=4,
    cache_key=KEY,
)


@pytest.fixture
def succeeded(store: JobStore, submit: Submit, claim: Claiming) -> Callable[..., JobId]:
    """Return a function that runs a job to its success and returns its id."""

    def run(success: Success = SUCCESS, **given: object) -> JobId:
        job = submit(cache=True, **given)
        store.succeed(claim(), success)
        return job.id

    return run


def test_a_claim_says_whether_its_result_may_answer_others(submit: Submit, claim: Claiming) -> None:
    submit(cache=True)
    submit()
    assert [claim().cache, claim().cache] == [True, False]


def test_the_newest_answer_is_found_for_each_key(store: JobStore, succeeded: Callable[..., JobId]) -> None:
    succeeded()
    newest = succeeded()
    other = succeeded(Success(result={}, cache_key=OTHER))
    succeeded(Success(result={}))
    assert store.find_cached(LOCAL, [KEY, OTHER, "none", KEY]) == {KEY: newest, OTHER: other}
    assert store.find_cached(LOCAL, []) == {}


def test_an_answer_crosses_to_no_other_tenant(
    store: JobStore, succeeded: Callable[..., JobId], new_job: Make
) -> None:
    source = succeeded(tenant=ADA)
    assert store.find_cached(BOB, [KEY]) == {}
    [job] = store.create([new_job(tenant=BOB, answered_by=source)])
    assert (job.state, job.result, job.cached_from) == (JobState.QUEUED, None, None)


def test_only_a_success_answers(store: JobStore, submit: Submit, claim: Claiming, new_job: Make) -> None:
    canceled = submit(cache=True)
    held = claim()
    store.cancel(LOCAL, canceled.id)
    assert store.succeed(held, SUCCESS) is JobState.CANCELED
    assert store.find_cached(LOCAL, [KEY]) == {}
    [job] = store.create([new_job(answered_by=canceled.id)])
    assert job.state is JobState.QUEUED


def test_an_answered_job_has_succeeded_with_all_that_its_source_has(
    store: JobStore, succeeded: Callable[..., JobId], new_job: Make
) -> None:
    source = store.get(LOCAL, succeeded())
    new = new_job(labels={"a": "b"}, answered_by=source.id, retain=timedelta(hours=1), cache=True)
    [job] = store.create([new])
    assert store.get(LOCAL, job.id) == job
    assert (job.state, job.cached_from, job.id) == (JobState.SUCCEEDED, source.id, new.id)
    copied = ("result", "result_file", "artifacts", "provenance", "batch_size")
    assert [getattr(job, name) for name in copied] == [getattr(source, name) for name in copied]
    assert (job.labels, job.attempt, job.progress.fraction, job.position) == ({"a": "b"}, 0, 1.0, None)
    assert job.finished_at is not None
    assert job.expires_at is not None
    assert abs(job.expires_at - job.finished_at - timedelta(hours=1)) < timedelta(seconds=1)
    assert abs(job.finished_at - job.created_at) < timedelta(seconds=1)


def test_an_answered_job_is_never_claimed(
    store: JobStore, succeeded: Callable[..., JobId], new_job: Make
) -> None:
    store.create([new_job(answered_by=succeeded())])
    assert not store.has_work(["default"])
    assert store.backlog() == {}
    assert store.claim(WorkerId("w"), ["default"]) == []


def test_an_answer_that_is_gone_by_then_is_worked_out_again(
    store: JobStore, succeeded: Callable[..., JobId], new_job: Make, later: Later
) -> None:
    source = succeeded()
    later(timedelta(days=8))
    assert store.find_cached(LOCAL, [KEY]) == {}, "it may be purged at any moment"
    gone = [new_job(answered_by=JobId("job_0")), new_job(answered_by=source)]
    assert [job.state for job in store.create(gone)] == [JobState.QUEUED] * 2
    assert [claim.id for claim in store.claim(WorkerId("w"), ["default"], limit=2)] == [
        job.id for job in gone
    ]


def test_answered_and_queued_jobs_are_created_in_order_and_together(
    store: JobStore, succeeded: Callable[..., JobId], new_job: Make
) -> None:
    source = succeeded()
    new = [new_job(answered_by=source if place % 2 else None) for place in range(6)]
    created = store.create(new)
    assert [job.id for job in created] == [job.id for job in new]
    assert [job.state is JobState.SUCCEEDED for job in created] == [False, True] * 3
    claimed = store.claim(WorkerId("w"), ["default"], limit=6)
    assert [claim.id for claim in claimed] == [new[place].id for place in (0, 2, 4)]


def test_an_answer_keeps_the_blobs_that_it_names(
    store: JobStore, succeeded: Callable[..., JobId], new_job: Make, later: Later
) -> None:
    source = succeeded(Success(result=None, result_file=B, artifacts=SUCCESS.artifacts, cache_key=KEY))
    later(timedelta(days=6))
    [job] = store.create([new_job(answered_by=source, input={"image": {"file": C}})])
    later(timedelta(days=2))
    assert store.purge() == []
    assert source not in store.versions([source])
    assert store.get_file(LOCAL, A).media_type == "image/png"
    assert store.get(LOCAL, job.id).result_file == B
    later(timedelta(days=6))
    assert store.purge() == [A, B, C]
