"""A tenant's endpoints: told of its jobs' ends, changed, given new secrets, turned off; nobody else's."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.database import Database
from shared.errors import InvalidRequest, NotFound
from shared.jobs import LOCAL, Job, TenantId, Webhook
from shared.store import (
    MOST_WEBHOOKS,
    Change,
    Delivery,
    DeliveryState,
    Endpoint,
    JobStore,
    MessageId,
    Try,
    WebhookId,
)

Submit = Callable[..., Job]
Later = Callable[[timedelta], None]

EVE = TenantId("eve")
URL = "https://hooks.example/a?token=s3cret"
ALL = ["job.succeeded", "job.failed", "job.canceled", "job.expired"]
LEASE = timedelta(minutes=1)
DONE = Try(status=204, error=None, ms=12)
REFUSED = Try(status=500, error="the answer was 500", ms=7)
DAY = timedelta(days=1)


@pytest.fixture
def endpoint(store: JobStore) -> Endpoint:
    return store.add_webhook(LOCAL, URL, ALL, "on call")


@pytest.fixture
def end(store: JobStore, submit: Submit) -> Callable[..., Job]:
    """Return a function that ends a job, canceled."""
    return lambda **given: store.cancel(given.get("tenant", LOCAL), submit(**given).id)


def _due(store: JobStore) -> list[Delivery]:
    return store.claim_deliveries(100, LEASE)


def _states(store: JobStore, webhook: WebhookId) -> list[DeliveryState]:
    return [log.state for log in store.webhook_deliveries(LOCAL, webhook, page_size=100)[0]]


def test_a_new_endpoint_is_found_as_it_was_given(store: JobStore) -> None:
    before = datetime.now(UTC)

    made = store.add_webhook(LOCAL, URL, ["job.failed"], "on call")

    assert store.webhook(LOCAL, made.id) == made
    assert made.id.startswith("wh_")
    assert (made.tenant, made.url, made.events, made.description) == (LOCAL, URL, ["job.failed"], "on call")
    assert (made.enabled, made.disabled_because, made.rotation, made.rotated_at) == (True, None, 1, None)
    assert abs(made.created_at - before) < timedelta(minutes=1)


def test_endpoints_are_listed_from_the_oldest_and_one_tenants_only(store: JobStore, later: Later) -> None:
    first = store.add_webhook(LOCAL, URL, ALL, "first")
    later(timedelta(seconds=5))
    second = store.add_webhook(LOCAL, URL, ALL, "second")
    store.add_webhook(EVE, URL, ALL, "hers")

    assert [found.id for found in store.webhooks(LOCAL)] == [first.id, second.id]
    assert store.webhooks(TenantId("nobody")) == []


def test_each_tenant_has_as_many_as_it_may_and_no_more(store: JobStore) -> None:
    for _ in range(MOST_WEBHOOKS):
        store.add_webhook(LOCAL, URL, ALL, "")

    with pytest.raises(InvalidRequest, match=f"{MOST_WEBHOOKS} webhooks"):
        store.add_webhook(LOCAL, URL, ALL, "")

    assert store.add_webhook(EVE, URL, ALL, "").tenant == EVE
    store.delete_webhook(LOCAL, store.webhooks(LOCAL)[0].id)
    store.add_webhook(LOCAL, URL, ALL, "")
    assert len(store.webhooks(LOCAL)) == MOST_WEBHOOKS


def test_the_last_place_is_given_once_to_those_who_ask_at_once(store: JobStore) -> None:
    for _ in range(MOST_WEBHOOKS - 1):
        store.add_webhook(LOCAL, URL, ALL, "")
    together = threading.Barrier(8)

    def add(_: int) -> bool:
        # Connected already, or they would come one after the other.
        store.ping()
        together.wait()
        try:
            store.add_webhook(LOCAL, URL, ALL, "")
        except InvalidRequest:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            added = list(threads.map(add, range(8)))
            assert added.count(True) == 1
            store.delete_webhook(LOCAL, store.webhooks(LOCAL)[-1].id)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (Change(url="https://other.example/"), {"url": "https://other.example/"}),
        (Change(events=["job.failed"]), {"events": ["job.failed"]}),
        (Change(description=""), {"description": ""}),
        (Change(enabled=False), {"enabled": False, "disabled_because": "its owner turned it off"}),
        (Change(), {}),
    ],
    ids=["url", "events", "description", "enabled", "nothing"],
)
def test_a_change_changes_what_it_names_and_nothing_else(
    store: JobStore, endpoint: Endpoint, change: Change, changed: dict[str, Any]
) -> None:
    beside = store.add_webhook(LOCAL, URL, ALL, "beside")

    found = store.change_webhook(LOCAL, endpoint.id, change)

    names = ("id", "tenant", "url", "events", "description", "enabled", "disabled_because", "rotation")
    before = {name: getattr(endpoint, name) for name in names}
    assert {name: getattr(found, name) for name in names} == before | changed
    assert store.webhook(LOCAL, endpoint.id) == found
    assert store.webhook(LOCAL, beside.id) == beside


def test_an_end_is_told_to_every_endpoint_that_wants_it_and_to_the_jobs_own_url(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    store.add_webhook(LOCAL, "https://failures.example/", ["job.failed"], "")
    off = store.add_webhook(LOCAL, "https://off.example/", ALL, "")
    store.change_webhook(LOCAL, off.id, Change(enabled=False))
    store.add_webhook(EVE, "https://eve.example/", ALL, "")

    job = end(webhook=Webhook(url="https://own.example/"))

    told = {(due.webhook, due.url, due.event, due.job_id) for due in _due(store)}
    assert told == {
        (None, "https://own.example/", "job.canceled", job.id),
        (endpoint.id, URL, "job.canceled", job.id),
    }


def test_what_waits_goes_to_the_url_that_the_endpoint_has_by_then(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    end()

    store.change_webhook(LOCAL, endpoint.id, Change(url="https://moved.example/"))

    assert [due.url for due in _due(store)] == ["https://moved.example/"]


def test_a_message_is_signed_with_both_secrets_for_a_day_after_a_rotation(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job], later: Later
) -> None:
    signed = []
    end()
    signed.append([due.rotations for due in _due(store)])
    rotated = store.rotate_webhook(LOCAL, endpoint.id)
    for wait in (timedelta(0), DAY - timedelta(minutes=1), timedelta(minutes=1)):
        later(wait)
        end()
        signed.append([due.rotations for due in _due(store)][-1:])

    assert (rotated.rotation, rotated.rotated_at is not None) == (2, True)
    assert signed == [[[1]], [[2, 1]], [[2, 1]], [[2]]]


def test_a_second_rotation_ends_the_first_secret(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    store.rotate_webhook(LOCAL, endpoint.id)

    store.rotate_webhook(LOCAL, endpoint.id)

    end()
    assert [due.rotations for due in _due(store)] == [[3, 2]]


def test_what_was_to_be_told_to_a_deleted_endpoint_is_given_up(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    job = end()

    store.delete_webhook(LOCAL, endpoint.id)

    assert _due(store) == []
    assert [log.state for log in store.deliveries_of(LOCAL, job.id)] == [DeliveryState.FAILED]
    with pytest.raises(NotFound):
        store.webhook(LOCAL, endpoint.id)


def test_a_disabled_endpoint_is_told_nothing_and_says_why(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    end()

    assert store.disable_webhook(endpoint.id, "it answered 410")
    end()

    assert _due(store) == []
    assert _states(store, endpoint.id) == [DeliveryState.FAILED]
    found = store.webhook(LOCAL, endpoint.id)
    assert (found.enabled, found.disabled_because) == (False, "it answered 410")


def test_only_the_first_reason_to_disable_an_endpoint_is_kept(store: JobStore, endpoint: Endpoint) -> None:
    store.disable_webhook(endpoint.id, "it answered 410")

    assert not store.disable_webhook(endpoint.id, "another")
    assert not store.disable_webhook(WebhookId("wh_" + "0" * 32), "another")

    assert store.webhook(LOCAL, endpoint.id).disabled_because == "it answered 410"


def test_an_endpoint_that_is_enabled_begins_anew(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job], later: Later
) -> None:
    end()
    [due] = _due(store)
    store.not_delivered(due.id, REFUSED, timedelta(0))
    later(timedelta(days=6))
    store.disable_webhook(endpoint.id, "every try failed")

    found = store.change_webhook(LOCAL, endpoint.id, Change(enabled=True))

    assert (found.enabled, found.disabled_because) == (True, None)
    end()
    [due] = _due(store)
    # Its failures before are forgotten: it has five days again.
    assert store.not_delivered(due.id, REFUSED, timedelta(0)) < timedelta(minutes=1)


def test_an_endpoint_is_failing_since_its_first_failure_after_a_success(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job], later: Later
) -> None:
    end()
    [due] = _due(store)
    failing = [store.not_delivered(due.id, REFUSED, DAY)]
    later(DAY)
    [due] = _due(store)
    failing.append(store.not_delivered(due.id, REFUSED, DAY))
    later(DAY)
    [due] = _due(store)
    store.delivered(due.id, DONE)
    end()
    [due] = _due(store)
    failing.append(store.not_delivered(due.id, REFUSED, DAY))

    assert [length // DAY for length in failing] == [0, 1, 0]


def test_a_test_message_says_nothing_of_any_job(store: JobStore, endpoint: Endpoint) -> None:
    booked = store.test_webhook(LOCAL, endpoint.id)

    [due] = _due(store)
    assert (due.id, due.webhook, due.url, due.event) == (booked.id, endpoint.id, URL, "webhook.test")
    body = json.loads(due.body)
    assert (body["type"], body["data"]) == ("webhook.test", {"webhook": endpoint.id})
    assert datetime.fromisoformat(body["timestamp"]).tzinfo == UTC
    assert (booked.state, booked.tries) == (DeliveryState.PENDING, [])


def test_what_is_sent_to_a_disabled_endpoint_is_refused(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    end()
    [due] = _due(store)
    store.change_webhook(LOCAL, endpoint.id, Change(enabled=False))

    with pytest.raises(InvalidRequest, match="disabled"):
        store.test_webhook(LOCAL, endpoint.id)
    with pytest.raises(InvalidRequest, match="disabled"):
        store.redeliver(LOCAL, endpoint.id, due.id)

    assert not store.has_deliveries()


@pytest.mark.parametrize("is_delivered", [True, False])
def test_a_redelivered_message_is_the_same_and_has_all_its_tries_again(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job], *, is_delivered: bool
) -> None:
    end()
    [first] = _due(store)
    if is_delivered:
        store.delivered(first.id, DONE)
    else:
        store.not_delivered(first.id, REFUSED, None)

    log = store.redeliver(LOCAL, endpoint.id, first.id)

    [again] = _due(store)
    assert (again.id, again.body, again.attempts) == (first.id, first.body, 0)
    # What was tried before stays in its log.
    assert (log.state, log.ended_at, len(log.tries)) == (DeliveryState.PENDING, None, 1)
    assert log.next_at is not None


def test_a_message_that_still_waits_is_not_hurried_by_a_redelivery(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    end()
    [due] = _due(store)
    store.not_delivered(due.id, REFUSED, timedelta(hours=1))

    log = store.redeliver(LOCAL, endpoint.id, due.id)

    assert (log.state, len(log.tries)) == (DeliveryState.PENDING, 1)
    assert not store.has_deliveries()


def test_messages_come_in_pages_the_newest_first_each_once(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    beside = store.add_webhook(LOCAL, "https://beside.example/", ["job.failed"], "")
    jobs = [end().id for _ in range(5)]
    pages, before = [], None
    while True:
        page, before = store.webhook_deliveries(LOCAL, endpoint.id, page_size=2, before=before)
        pages.append([log.id for log in page])
        if before is None:
            break

    assert [len(page) for page in pages] == [2, 2, 1]
    newest_first = [log.id for job in reversed(jobs) for log in store.deliveries_of(LOCAL, job)]
    assert [one for page in pages for one in page] == newest_first
    assert store.webhook_deliveries(LOCAL, beside.id, page_size=9) == ([], None)


def test_a_page_before_a_message_that_was_forgotten_goes_on_where_it_stood(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    end()

    page, following = store.webhook_deliveries(
        LOCAL, endpoint.id, page_size=9, before=MessageId("msg_" + "f" * 32)
    )

    assert (len(page), following) == (1, None)
    assert store.webhook_deliveries(LOCAL, endpoint.id, page_size=9, before=page[0].id) == ([], None)


@pytest.mark.parametrize(
    "look",
    [
        lambda store, tenant, webhook, message: store.webhook(tenant, webhook),
        lambda store, tenant, webhook, message: store.change_webhook(tenant, webhook, Change()),
        lambda store, tenant, webhook, message: store.change_webhook(tenant, webhook, Change(enabled=False)),
        lambda store, tenant, webhook, message: store.rotate_webhook(tenant, webhook),
        lambda store, tenant, webhook, message: store.delete_webhook(tenant, webhook),
        lambda store, tenant, webhook, message: store.test_webhook(tenant, webhook),
        lambda store, tenant, webhook, message: store.webhook_deliveries(tenant, webhook, page_size=9),
        lambda store, tenant, webhook, message: store.redeliver(tenant, webhook, message),
    ],
    ids=["get", "look", "change", "rotate", "delete", "test", "deliveries", "redeliver"],
)
def test_a_foreign_endpoint_is_an_unknown_one_and_stays_as_it_was(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job], look: Callable[..., object]
) -> None:
    end()
    [due] = _due(store)
    store.delivered(due.id, DONE)

    for tenant, webhook in ((EVE, endpoint.id), (LOCAL, WebhookId("wh_" + "0" * 32))):
        with pytest.raises(NotFound, match=webhook):
            look(store, tenant, webhook, due.id)

    assert store.webhook(LOCAL, endpoint.id) == endpoint
    assert _states(store, endpoint.id) == [DeliveryState.DELIVERED]


def test_a_message_of_another_endpoint_cannot_be_sent_again_by_this_one(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    end()
    [due] = _due(store)
    store.delivered(due.id, DONE)
    beside = store.add_webhook(LOCAL, URL, ALL, "beside")

    with pytest.raises(NotFound, match=due.id):
        store.redeliver(LOCAL, beside.id, due.id)

    assert not store.has_deliveries()


def test_another_tenants_endpoint_is_not_told(
    store: JobStore, endpoint: Endpoint, end: Callable[..., Job]
) -> None:
    end(tenant=EVE)

    assert _due(store) == []


def test_no_secret_of_an_endpoint_is_in_the_database(
    store: JobStore, database: Database, endpoint: Endpoint
) -> None:
    store.rotate_webhook(LOCAL, endpoint.id)

    with database.read() as connection:
        row = connection.exec_driver_sql("SELECT * FROM webhooks").mappings().one()

    assert "whsec_" not in str(dict(row))
    assert "secret" not in row
