"""What is to be told of a job's end is written with that end, and tried until it is delivered or given up."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from shared.database import Database
from shared.errors import NotFound
from shared.jobs import (
    LOCAL,
    Claim,
    Failure,
    Job,
    JobId,
    JobState,
    NewJob,
    Success,
    TenantId,
    Webhook,
    WorkerId,
    new_job_id,
)
from shared.store import Delivery, DeliveryState, JobStore, Try

Submit = Callable[..., Job]
Claiming = Callable[..., Claim]
Later = Callable[[timedelta], None]

HOOK = Webhook(url="https://hooks.example/a?token=s3cret")
LEASE = timedelta(minutes=1)
DONE = Try(status=204, error=None, ms=12)
REFUSED = Try(status=500, error="the answer was 500", ms=7)
BROKEN = Failure(code="image_corrupt", message="broken")


def _due(store: JobStore) -> list[Delivery]:
    return store.claim_deliveries(100, LEASE)


def _fail(store: JobStore, claim: Claim) -> None:
    store.fail(claim, BROKEN)


def _exhaust(store: JobStore, claim: Claim) -> None:
    while store.requeue(claim, BROKEN, timedelta(0)) is JobState.RUNNING:
        (claim,) = store.claim(WorkerId("worker-1"), ["default"])


def _cancel(store: JobStore, claim: Claim) -> None:
    store.cancel(LOCAL, claim.id)
    store.confirm_canceled(claim)


def _succeed_too_late(store: JobStore, claim: Claim) -> None:
    store.cancel(LOCAL, claim.id)
    store.succeed(claim, Success(result={}))


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (lambda store, claim: store.succeed(claim, Success(result={"dim": 3})), "job.succeeded"),
        (_fail, "job.failed"),
        (_exhaust, "job.failed"),
        (_cancel, "job.canceled"),
        (_succeed_too_late, "job.canceled"),
    ],
    ids=["succeeded", "failed", "exhausted", "canceled", "canceled by its success"],
)
def test_however_an_attempt_ends_a_job_its_end_is_told_once(
    store: JobStore, submit: Submit, claim: Claiming, end: Callable[[JobStore, Claim], object], name: str
) -> None:
    job = submit(webhook=HOOK)
    end(store, claim())
    (delivery,) = _due(store)
    assert (delivery.event, delivery.job_id, delivery.url) == (name, job.id, HOOK.url)
    assert delivery.id.startswith("msg_")


def test_a_cancel_of_a_job_that_waits_is_told(store: JobStore, submit: Submit) -> None:
    job = submit(webhook=HOOK)
    store.cancel(LOCAL, job.id)
    store.cancel(LOCAL, job.id)
    assert [delivery.event for delivery in _due(store)] == ["job.canceled"]


def test_a_cancel_of_a_job_that_runs_is_told_when_its_worker_stopped(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit(webhook=HOOK)
    held = claim()
    store.cancel(LOCAL, job.id)
    assert _due(store) == []
    store.confirm_canceled(held)
    assert [delivery.event for delivery in _due(store)] == ["job.canceled"]


@pytest.mark.parametrize("is_canceled", [False, True])
def test_an_end_by_lost_leases_is_told(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None], is_canceled: bool
) -> None:
    job = submit(webhook=HOOK)
    for _ in range(3):
        claim()
        if is_canceled:
            store.cancel(LOCAL, job.id)
        lease_ends()
        store.expire_leases()
        if is_canceled:
            break
        assert store.get(LOCAL, job.id).state in {JobState.RUNNING, JobState.FAILED}
    (delivery,) = _due(store)
    assert delivery.event == ("job.canceled" if is_canceled else "job.failed")


def test_a_missed_start_is_told(store: JobStore, submit: Submit, later: Later) -> None:
    submit(webhook=HOOK, start_within=timedelta(seconds=5))
    later(timedelta(seconds=6))
    store.expire_deadlines()
    assert [delivery.event for delivery in _due(store)] == ["job.expired"]


def test_an_answer_from_the_cache_is_told(store: JobStore, submit: Submit, claim: Claiming) -> None:
    source = submit(cache=True)
    store.succeed(claim(), Success(result={}, cache_key="k"))
    again = submit(webhook=HOOK, answered_by=source.id)
    (delivery,) = _due(store)
    assert (delivery.event, delivery.job_id) == ("job.succeeded", again.id)


def test_only_the_wanted_ends_are_told(store: JobStore, submit: Submit, claim: Claiming) -> None:
    only_failures = Webhook(url=HOOK.url, events=[JobState.FAILED])
    submit(webhook=only_failures)
    store.succeed(claim(), Success(result={}))
    assert _due(store) == []
    submit(webhook=only_failures)
    store.fail(claim(), BROKEN)
    assert [delivery.event for delivery in _due(store)] == ["job.failed"]


def test_a_job_that_goes_on_tells_nothing(store: JobStore, submit: Submit, claim: Claiming) -> None:
    submit(webhook=HOOK)
    store.requeue(claim(), BROKEN, timedelta(0))
    store.release(claim())
    assert not store.has_deliveries()


def test_a_worker_that_lost_its_job_tells_nothing(
    store: JobStore, submit: Submit, claim: Claiming, lease_ends: Callable[[], None]
) -> None:
    submit(webhook=HOOK)
    lost = claim()
    lease_ends()
    store.expire_leases()
    store.succeed(claim(), Success(result={}))
    with pytest.raises(Exception, match="no longer"):
        store.fail(lost, BROKEN)
    assert [delivery.event for delivery in _due(store)] == ["job.succeeded"]


def test_the_message_says_what_happened_and_where_the_rest_is(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    job = submit(webhook=HOOK, labels={"album": "été"})
    store.fail(claim(), BROKEN)
    body = json.loads(_due(store)[0].body)
    ended = store.get(LOCAL, job.id)
    told = body["data"]
    assert body["type"] == "job.failed"
    assert datetime.fromisoformat(body["timestamp"]) == ended.finished_at
    assert {name: told[name] for name in ("id", "task", "status", "version", "generation", "attempt")} == {
        "id": job.id,
        "task": "embed",
        "status": "failed",
        "version": ended.version,
        "generation": 1,
        "attempt": 1,
    }
    assert told["error"] == {"code": "image_corrupt", "message": "broken", "retryable": False}
    assert told["labels"] == {"album": "été"}
    assert datetime.fromisoformat(told["created_at"]) == job.created_at
    assert told["links"] == {"self": f"/v1/jobs/{job.id}"}
    assert "token" not in json.dumps(body)


def test_a_message_stays_under_20_kb_whatever_its_job_holds(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    submit(webhook=HOOK, labels={f"{place:063}": "\x01" * 200 for place in range(32)})
    store.fail(claim(), Failure(code="model_failed", message="\x01\N{SNOWMAN}" * 100_000))
    body = _due(store)[0].body
    assert len(body.encode()) < 20_000
    assert len(json.loads(body)["data"]["labels"]) > 5


def test_who_ends_a_job_in_this_process_wakes_whoever_delivers(
    store: JobStore, submit: Submit, claim: Claiming
) -> None:
    submit()
    store.succeed(claim(), Success(result={}))
    assert not store.booked.is_set()
    submit(webhook=HOOK)
    store.succeed(claim(), Success(result={}))
    assert store.booked.is_set()


def test_a_job_that_nobody_is_told_of_costs_no_statement_more(
    store: JobStore, database: Database, submit: Submit, claim: Claiming
) -> None:
    counts = []
    for webhook in (None, HOOK):
        submit(webhook=webhook)
        held = claim()
        with _counted(database) as statements:
            store.succeed(held, Success(result={}))
        counts.append(len(statements))
    assert counts == [1, 3]


@contextmanager
def _counted(database: Database) -> Any:
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield statements
    event.remove(database.engine, "before_cursor_execute", note)


@pytest.fixture
def message(store: JobStore, submit: Submit, claim: Claiming) -> Delivery:
    """Return what is to be told of a job that succeeded, taken to be tried."""
    submit(webhook=HOOK)
    store.succeed(claim(), Success(result={}))
    (taken,) = _due(store)
    return taken


def test_what_is_taken_is_taken_by_nobody_else(store: JobStore, message: Delivery) -> None:
    assert not store.has_deliveries()
    assert _due(store) == []


def test_who_dies_amid_a_try_is_followed_by_another_with_the_same_message(
    store: JobStore, message: Delivery, later: Later
) -> None:
    later(LEASE + timedelta(seconds=1))
    assert store.has_deliveries()
    (again,) = _due(store)
    assert (again.id, again.body, again.attempts) == (message.id, message.body, 0)
    assert again.taken_at > message.taken_at


def test_what_was_delivered_is_not_tried_again(store: JobStore, message: Delivery, later: Later) -> None:
    store.delivered(message.id, DONE)
    later(timedelta(days=2))
    assert _due(store) == []
    (log,) = store.deliveries_of(LOCAL, message.job_id)
    assert (log.state, log.next_at, [done for _, done in log.tries]) == (
        DeliveryState.DELIVERED,
        None,
        [DONE],
    )


def test_a_failed_try_comes_again_in_its_time(store: JobStore, message: Delivery, later: Later) -> None:
    store.not_delivered(message.id, REFUSED, timedelta(minutes=5))
    assert _due(store) == []
    later(timedelta(minutes=5))
    (again,) = _due(store)
    assert (again.id, again.body, again.attempts) == (message.id, message.body, 1)


def test_what_is_given_up_is_not_tried_again(store: JobStore, message: Delivery, later: Later) -> None:
    store.not_delivered(message.id, REFUSED, None)
    later(timedelta(days=2))
    assert _due(store) == []
    assert store.deliveries_of(LOCAL, message.job_id)[0].state is DeliveryState.FAILED


def test_the_end_of_a_delivery_is_final(store: JobStore, message: Delivery) -> None:
    store.delivered(message.id, DONE)
    store.not_delivered(message.id, REFUSED, timedelta(0))
    (log,) = store.deliveries_of(LOCAL, message.job_id)
    assert (log.state, len(log.tries)) == (DeliveryState.DELIVERED, 1)


def test_the_log_holds_every_try_and_its_moment(store: JobStore, message: Delivery) -> None:
    lost = Try(status=None, error="a \0 name that is unknown", ms=3)
    store.not_delivered(message.id, REFUSED, timedelta(0))
    store.not_delivered(message.id, lost, timedelta(0))
    store.delivered(message.id, DONE)
    (log,) = store.deliveries_of(LOCAL, message.job_id)
    assert [done.status for _, done in log.tries] == [500, None, 204]
    assert [done.ms for _, done in log.tries] == [7, 3, 12]
    assert log.tries[1][1].error == "a \N{REPLACEMENT CHARACTER} name that is unknown"
    assert all(timedelta(0) <= datetime.now(UTC) - at < timedelta(minutes=1) for at, _ in log.tries)


def test_four_processes_never_take_one_message_twice(
    store: JobStore, database_url: str, submit: Submit
) -> None:
    for _ in range(40):
        store.cancel(LOCAL, submit(webhook=HOOK).id)

    def take(_: int) -> list[Delivery]:
        own = Database(database_url, pool_size=1)
        try:
            other = JobStore(own, lease=LEASE, max_attempts=3)
            return [found for _ in range(10) for found in other.claim_deliveries(1, LEASE)]
        finally:
            own.close()

    with ThreadPoolExecutor(4) as threads:
        taken = [found.id for some in threads.map(take, range(4)) for found in some]
    assert len(taken) == len(set(taken))
    assert len(taken) + len(_due(store)) == 40


def test_a_foreign_job_has_no_log(store: JobStore, message: Delivery) -> None:
    for tenant, job_id in ((TenantId("eve"), message.job_id), (LOCAL, JobId(new_job_id()))):
        with pytest.raises(NotFound):
            store.deliveries_of(tenant, job_id)


def test_a_job_without_webhook_has_an_empty_log(store: JobStore, submit: Submit) -> None:
    assert store.deliveries_of(LOCAL, submit().id) == []


def test_what_is_to_be_told_outlives_the_job(
    store: JobStore, new_job: Callable[..., NewJob], later: Later
) -> None:
    (job,) = store.create([new_job(webhook=HOOK, retain=timedelta(seconds=1))])
    store.cancel(LOCAL, job.id)
    later(timedelta(seconds=2))
    store.purge()
    assert job.id not in store.versions([job.id])
    assert [log.state for log in store.deliveries_of(LOCAL, job.id)] == [DeliveryState.PENDING]
    assert len(_due(store)) == 1


def test_what_ended_a_week_ago_is_forgotten_and_nothing_else(
    store: JobStore, submit: Submit, message: Delivery, later: Later
) -> None:
    waiting = submit(webhook=HOOK)
    store.cancel(LOCAL, waiting.id)
    store.delivered(message.id, DONE)
    later(timedelta(days=6))
    assert store.purge_deliveries() == 0
    later(timedelta(days=1))
    assert store.purge_deliveries() == 1
    assert [log.state for log in store.deliveries_of(LOCAL, waiting.id)] == [DeliveryState.PENDING]
