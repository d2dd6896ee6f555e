"""What the API may rely on: create, get, versions, cancel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import InternalError, NotFound
from shared.jobs import (
    LOCAL,
    Claim,
    Failure,
    FileId,
    Job,
    JobId,
    JobState,
    NewFile,
    NewJob,
    Priority,
    Progress,
    Success,
    TenantId,
    WorkerId,
)
from shared.store import JobStore

Submit = Callable[..., Job]
Claiming = Callable[..., Claim]


def test_a_created_job_reads_back_as_it_was_answered(store: JobStore, submit: Submit) -> None:
    job = submit(
        input={"texts": ["naïve \u0000 \U0001f600"], "top_k": 3, "nested": {"score": 0.1}},
        labels={"team": "blue"},
        priority=Priority.HIGH,
        timeout=timedelta(seconds=1.5),
    )
    assert store.get(LOCAL, job.id) == job
    assert (job.state, job.version, job.attempt) == (JobState.QUEUED, 1, 0)
    assert (job.timeout, job.priority, job.labels) == (
        timedelta(seconds=1.5),
        Priority.HIGH,
        {"team": "blue"},
    )
    assert (job.result, job.error, job.started_at, job.finished_at, job.expires_at) == (None,) * 5


def test_times_are_aware_and_utc(submit: Submit) -> None:
    created_at = submit().created_at
    assert created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - created_at) < timedelta(minutes=1)


def test_a_thousand_jobs_are_created_in_order(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    new = [new_job() for _ in range(1000)]
    assert [job.id for job in store.create(new)] == [job.id for job in new]
    claimed = [claim.id for claim in store.claim(WorkerId("w"), ["default"], limit=1000)]
    assert claimed == [job.id for job in new]


def test_no_jobs_are_no_trouble(store: JobStore) -> None:
    assert store.create([]) == []


def test_one_bad_job_stores_none_of_its_batch(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    good = new_job()
    with pytest.raises(InternalError):
        store.create([good, new_job(), new_job(id=good.id)])
    assert store.list(LOCAL) == ([], None)


def test_a_number_that_is_not_json_is_refused(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    with pytest.raises(InternalError):
        store.create([new_job(input={"score": float("nan")})])


def test_a_foreign_job_is_an_unknown_job(store: JobStore, submit: Submit) -> None:
    job = submit(tenant=TenantId("ada"))
    for tenant, job_id in ((TenantId("bob"), job.id), (TenantId("ada"), JobId("job_0"))):
        with pytest.raises(NotFound):
            store.get(tenant, job_id)
        with pytest.raises(NotFound):
            store.cancel(tenant, job_id)
    assert store.get(TenantId("ada"), job.id).state is JobState.QUEUED


def test_the_position_counts_what_will_be_claimed_before(store: JobStore, submit: Submit) -> None:
    first, second = submit(), submit()
    urgent = submit(priority=Priority.HIGH)
    submit(pool="another")
    positions = [store.get(LOCAL, job.id, with_position=True).position for job in (urgent, first, second)]
    assert positions == [0, 1, 2]
    assert store.get(LOCAL, second.id).position is None


def test_a_job_that_runs_has_no_position(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job = submit()
    claim()
    assert store.get(LOCAL, job.id, with_position=True).position is None


def test_versions_answers_for_many_jobs_at_once(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    created = store.create([new_job() for _ in range(1200)])
    store.claim(WorkerId("w"), ["default"])
    versions = store.versions([*(job.id for job in created), JobId("job_0")])
    assert versions[created[0].id] == (2, JobState.RUNNING)
    assert versions[created[1].id] == (1, JobState.QUEUED)
    assert len(versions) == 1200


def test_many_jobs_are_read_at_once(store: JobStore, new_job: Callable[..., NewJob]) -> None:
    ada, bob = TenantId("ada"), TenantId("bob")
    created = store.create([new_job(tenant=tenant) for _ in range(600) for tenant in (ada, bob)])
    ids = [JobId("job_0"), *(job.id for job in created)]
    assert store.many(ids) == {job.id: job for job in created}
    assert store.many(ids, ada) == {job.id: job for job in created if job.tenant == ada}
    assert store.many([]) == {}


def test_uploads_are_recorded_with_the_jobs_that_need_them(
    store: JobStore, new_job: Callable[..., NewJob]
) -> None:
    known, new = FileId("a" * 64), FileId("b" * 64)
    store.add_file(LOCAL, known, media_type="image/png", size=7, width=1, height=2)
    uploads = [NewFile(id=file, media_type="image/webp", bytes=70, width=3) for file in (new, known, new)]
    store.create([new_job()], files=uploads)
    stored = store.get_file(LOCAL, new)
    assert (stored.media_type, stored.bytes, stored.width, stored.height) == ("image/webp", 70, 3, None)
    assert store.get_file(LOCAL, known).media_type == "image/png", "a known one stays as it was"


def test_uploads_are_recorded_with_all_the_jobs_or_not_at_all(
    store: JobStore, new_job: Callable[..., NewJob]
) -> None:
    upload = NewFile(id=FileId("a" * 64), media_type="image/png", bytes=1)
    twice = new_job()
    with pytest.raises(InternalError):
        store.create([twice, twice], files=[upload])
    assert store.missing_files(LOCAL, [upload.id]) == {upload.id}


def test_a_queued_job_is_cancelled_at_once(store: JobStore, submit: Submit) -> None:
    job = store.cancel(LOCAL, submit().id)
    assert job.state is JobState.CANCELED
    assert job.finished_at is not None
    assert job.expires_at is not None
    assert store.claim(WorkerId("w"), ["default"]) == []


def test_a_running_job_is_canceling_until_its_worker_confirms(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit()
    held = claim()
    canceling = store.cancel(LOCAL, job.id)
    assert (canceling.state, canceling.finished_at, canceling.expires_at) == (JobState.CANCELING, None, None)
    assert store.confirm_canceled(held) is JobState.CANCELED


def test_a_job_that_waits_for_its_next_attempt_is_cancelled_at_once(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit()
    store.requeue(claim(), Failure(code="blobs_unavailable", message="gone"), timedelta(hours=1))
    assert store.cancel(LOCAL, job.id).state is JobState.CANCELED


def test_cancelling_again_changes_nothing(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job = submit()
    held = claim()
    asked = store.cancel(LOCAL, job.id)
    assert store.cancel(LOCAL, job.id) == asked
    store.confirm_canceled(held)
    ended = store.get(LOCAL, job.id)
    assert store.cancel(LOCAL, job.id) == ended


def test_cancelling_what_has_ended_changes_nothing(store: JobStore, submit: Submit, claim: Claiming) -> None:
    job = submit()
    store.succeed(claim(), Success(result={"ok": True}))
    done = store.get(LOCAL, job.id)
    assert store.cancel(LOCAL, job.id) == done


def test_the_version_grows_with_every_visible_change(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit()
    seen = [job.version]

    def look() -> None:
        seen.append(store.get(LOCAL, job.id).version)

    held = claim()
    look()
    store.heartbeat(WorkerId("worker-1"), {held.id: 1}, {held.id: Progress(fraction=0.5, stage="fuse")})
    look()
    store.requeue(held, Failure(code="timeout", message="slow", retryable=True), timedelta(0))
    look()
    held = claim()
    look()
    store.release(held)
    look()
    held = claim()
    look()
    store.cancel(LOCAL, job.id)
    look()
    store.confirm_canceled(held)
    look()
    assert seen == sorted(set(seen))
