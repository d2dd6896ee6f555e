"""A message is sent, the same each time, until its endpoint takes it or has had all its chances."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from shared.database import Database
from shared.jobs import LOCAL, Job, JobState, NewJob, Webhook, new_job_id
from shared.signing import Signer
from shared.store import DeliveryLog, DeliveryState, JobStore, Try
from tests.sinks import Sink, reply, sink
from worker.notify import Notifier
from worker.posting import Poster
from worker.targets import Targets

DEADLINE_S = 20.0
SIGNER = Signer(b"the secret of the service")
NEVER = timedelta(hours=1)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def in_rounds(store: JobStore, notifier: Notifier, done: Callable[[], object]) -> None:
    """Run a round whenever there is news, as the worker does, until a condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        store.booked.wait(0.05)
        store.booked.clear()
        notifier.round()


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database, lease=timedelta(seconds=30), max_attempts=3)


@pytest.fixture
def end(store: JobStore) -> Callable[[str], Job]:
    """Return a function that ends a job whose end is to be told at a URL."""

    def one(url: str) -> Job:
        new = NewJob(id=new_job_id(), task="embed", input={}, webhook=Webhook(url=url))
        store.create([new])
        return store.cancel(LOCAL, new.id)

    return one


@contextmanager
def notifying(
    store: JobStore,
    *waits: timedelta,
    timeout: timedelta = timedelta(seconds=5),
    targets: Targets | None = None,
) -> Iterator[Notifier]:
    notifier = Notifier(
        store,
        targets or Targets(private=True),
        Poster(ssl.create_default_context(), timeout),
        SIGNER,
        timeout=timeout,
        waits=waits,
    )
    try:
        yield notifier
    finally:
        notifier.close()


def log_of(store: JobStore, job: Job) -> DeliveryLog:
    [found] = store.deliveries_of(LOCAL, job.id)
    return found


def sent(store: JobStore, job: Job, *waits: timedelta, **options: object) -> DeliveryLog:
    """Send all that is due, once, and return what is known of it then."""
    with notifying(store, *waits, **options) as notifier:  # type: ignore[arg-type]
        notifier.round()
    return log_of(store, job)


def test_a_message_that_is_taken_is_delivered(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink() as server:
        job = end(server.url)
        log = sent(store, job)

    assert (log.state, [done.status for _, done in log.tries]) == (DeliveryState.DELIVERED, [204])
    [(headers, body)] = server.received
    assert json.loads(body)["data"]["id"] == job.id
    assert headers["webhook-id"] == log.id
    assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "iconotext"
    assert headers["host"] == f"127.0.0.1:{server.port}"


def test_every_try_sends_the_same_message_under_the_same_id(
    store: JobStore, end: Callable[[str], Job]
) -> None:
    now = timedelta(0)
    with sink(reply(500), reply(503)) as server:
        job = end(server.url)
        with notifying(store, now, now) as notifier:
            for _ in range(3):
                notifier.round()
                eventually(lambda: log_of(store, job).next_at is None or store.has_deliveries())

    assert log_of(store, job).state is DeliveryState.DELIVERED
    assert [done.status for _, done in log_of(store, job).tries] == [500, 503, 204]
    assert len({(headers["webhook-id"], body) for headers, body in server.received}) == 1


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_a_refused_message_waits_for_its_next_try(
    store: JobStore, end: Callable[[str], Job], status: int
) -> None:
    with sink(reply(status)) as server:
        before = datetime.now(UTC)
        log = sent(store, end(server.url), timedelta(minutes=5))

    assert log.state is DeliveryState.PENDING
    assert log.next_at is not None
    assert timedelta(minutes=4) <= log.next_at - before < timedelta(minutes=6, seconds=DEADLINE_S)
    assert str(status) in (log.tries[0][1].error or "")


def test_each_wait_follows_the_one_before(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink(reply(500), reply(500)) as server:
        job = end(server.url)
        sent(store, job, timedelta(0), NEVER)
        log = sent(store, job, timedelta(0), NEVER)

    assert len(log.tries) == 2
    assert log.next_at is not None
    assert log.next_at - datetime.now(UTC) > timedelta(minutes=45)


def test_after_the_last_wait_a_message_is_given_up(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink(reply(500), reply(500)) as server:
        job = end(server.url)
        sent(store, job, timedelta(0))
        log = sent(store, job, timedelta(0))

    assert (log.state, log.next_at, len(log.tries)) == (DeliveryState.FAILED, None, 2)


def test_an_endpoint_that_is_gone_is_not_tried_again(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink(reply(410)) as server:
        log = sent(store, end(server.url), NEVER)

    assert (log.state, log.tries[0][1].status) == (DeliveryState.FAILED, 410)


def test_a_redirect_is_not_followed(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink() as other, sink(reply(307, Location=other.url)) as server:
        log = sent(store, end(server.url), NEVER)

    assert other.received == []
    assert (log.state, log.tries[0][1].status) == (DeliveryState.PENDING, 307)


def test_no_proxy_of_the_environment_is_asked(
    store: JobStore, end: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sink() as proxy, sink() as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        sent(store, end(server.url))

    assert (len(proxy.received), len(server.received)) == (0, 1)


def test_nothing_is_sent_where_it_must_not_go(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink() as server:
        log = sent(store, end(server.url), NEVER, targets=Targets(private=False))

    assert server.received == []
    assert (log.state, log.tries[0][1].status) == (DeliveryState.PENDING, None)


def test_the_connection_goes_to_the_address_that_was_checked(
    store: JobStore, end: Callable[[str], Job]
) -> None:
    # Resolved again, the name would lead nowhere.
    targets = Targets(private=True, resolver=lambda _host, _port: ["127.0.0.1"])
    with sink() as server:
        log = sent(store, end(f"http://hooks.invalid:{server.port}/"), targets=targets)

    assert log.state is DeliveryState.DELIVERED
    assert server.received[0][0]["host"] == f"hooks.invalid:{server.port}"


def test_the_next_address_is_tried_when_one_is_dead(store: JobStore, end: Callable[[str], Job]) -> None:
    # Nobody listens on the first: the sink has that port on the other address only.
    targets = Targets(private=True, resolver=lambda _host, _port: ["127.0.0.2", "127.0.0.1"])
    with sink() as server:
        log = sent(store, end(f"http://hooks.invalid:{server.port}/"), targets=targets)

    assert log.state is DeliveryState.DELIVERED


def test_a_host_without_address_is_a_failed_try(store: JobStore, end: Callable[[str], Job]) -> None:
    def resolver(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    targets = Targets(private=True, resolver=resolver)
    log = sent(store, end("http://hooks.invalid/"), NEVER, targets=targets)

    assert log.tries[0][1].error == "the host's address cannot be found: Name or service not known"


def test_a_dead_endpoint_is_a_failed_try(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink() as server:
        url = server.url
    log = sent(store, end(url), NEVER)

    assert (log.state, log.tries[0][1].status) == (DeliveryState.PENDING, None)
    assert "refused" in (log.tries[0][1].error or "")


def _drip(server: Sink) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        while not server.ending.wait(0.02):
            handler.wfile.write(b"H")

    return answer


@pytest.mark.parametrize("make", [lambda server: server.hang, _drip], ids=["silent", "dripping"])
def test_a_try_ends_in_time_however_slowly_the_answer_comes(
    store: JobStore, end: Callable[[str], Job], make: Callable[[Sink], Callable[..., None]]
) -> None:
    with sink() as server:
        server.answers.append(make(server))
        began = time.monotonic()
        log = sent(store, end(server.url), NEVER, timeout=timedelta(seconds=0.3))
        spent = time.monotonic() - began

    assert spent < 3
    assert log.tries[0][1] == Try(status=None, error="no answer within 0.3 s", ms=log.tries[0][1].ms)
    assert 300 <= log.tries[0][1].ms < 3000


def test_an_endless_answer_is_not_read_to_its_end(store: JobStore, end: Callable[[str], Job]) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65_536)

    with sink(flood) as server:
        log = sent(store, end(server.url))

    assert log.state is DeliveryState.DELIVERED
    assert log.tries[0][1].ms < 3000


def test_an_answer_that_is_no_http_is_a_failed_try(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink(lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")) as server:
        log = sent(store, end(server.url), NEVER)

    assert log.state is DeliveryState.PENDING
    assert log.tries[0][1].status is None


def test_an_endpoint_without_the_encryption_it_promised_is_a_failed_try(
    store: JobStore, end: Callable[[str], Job]
) -> None:
    with sink() as server:
        log = sent(store, end(server.url.replace("http:", "https:")), NEVER)

    assert server.received == []
    assert log.tries[0][1].status is None


def test_messages_go_side_by_side_and_all_that_is_due_goes(
    store: JobStore, end: Callable[[str], Job]
) -> None:
    together = threading.Barrier(4)

    def meet(handler: BaseHTTPRequestHandler) -> None:
        together.wait(DEADLINE_S)
        reply(204)(handler)

    with sink(*[meet] * 4) as server, notifying(store) as notifier:
        jobs = [end(server.url) for _ in range(20)]
        in_rounds(store, notifier, lambda: len(server.received) == 20)

    assert {log_of(store, job).state for job in jobs} == {DeliveryState.DELIVERED}
    assert len({headers["webhook-id"] for headers, _ in server.received}) == len(server.received) == 20


def test_a_stopping_worker_lets_what_is_on_its_way_end_and_takes_nothing_more(
    store: JobStore, end: Callable[[str], Job]
) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        arrived.set()
        go_on.wait(DEADLINE_S)
        reply(204)(handler)

    with sink(wait) as server, notifying(store) as notifier:
        first = end(server.url)
        notifier.round()
        assert arrived.wait(DEADLINE_S)
        notifier.stop()
        second = end(server.url)
        notifier.round()
        go_on.set()

    assert log_of(store, first).state is DeliveryState.DELIVERED
    assert (log_of(store, second).state, log_of(store, second).tries) == (DeliveryState.PENDING, [])


def test_a_try_that_ends_with_a_bug_frees_its_sender(
    store: JobStore, end: Callable[[str], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sink() as server, notifying(store) as notifier:
        with monkeypatch.context() as patch:
            patch.setattr(Poster, "post", lambda *_: 1 / 0)
            for _ in range(17):
                end(server.url)
            in_rounds(store, notifier, lambda: not store.has_deliveries())
        job = end(server.url)
        in_rounds(store, notifier, lambda: log_of(store, job).state is DeliveryState.DELIVERED)


def test_an_endpoint_that_hangs_holds_up_no_other(store: JobStore, end: Callable[[str], Job]) -> None:
    go_on = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        go_on.wait(DEADLINE_S)
        reply(204)(handler)

    with sink(*[hang] * 1_000) as slow, sink() as quick, notifying(store) as notifier:
        for _ in range(1_000):
            end(slow.url)
        job = end(quick.url)
        began = time.monotonic()
        in_rounds(store, notifier, lambda: log_of(store, job).state is DeliveryState.DELIVERED)
        spent_s = time.monotonic() - began
        notifier.stop()
        go_on.set()

    assert spent_s < 2.0
    assert len(slow.received) <= 4


@pytest.mark.parametrize("rotated", [False, True])
def test_a_message_is_signed_so_that_its_endpoint_can_tell(store: JobStore, *, rotated: bool) -> None:
    with sink() as server, notifying(store) as notifier:
        endpoint = store.add_webhook(LOCAL, server.url, ["job.canceled"], "")
        old = Verifier(SIGNER.secret(endpoint.id, 1))
        if rotated:
            endpoint = store.rotate_webhook(LOCAL, endpoint.id)
        new = NewJob(id=new_job_id(), task="embed", input={})
        store.create([new])
        store.cancel(LOCAL, new.id)
        in_rounds(store, notifier, lambda: server.received)

    [(headers, body)] = server.received
    present = Verifier(SIGNER.secret(endpoint.id, endpoint.rotation))
    assert present.verify(body, headers)["data"]["id"] == new.id
    # The secret before is good for another day.
    assert old.verify(body, headers)
    assert len(headers["webhook-signature"].split()) == (2 if rotated else 1)
    for other in (SIGNER.secret(endpoint.id, 3), SIGNER.secret("tenant:local", 1)):
        with pytest.raises(WebhookVerificationError):
            Verifier(other).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        old.verify(body.replace(b"canceled", b"succeeded"), headers)


def test_a_jobs_own_url_is_signed_for_with_the_tenants_secret(
    store: JobStore, end: Callable[[str], Job]
) -> None:
    with sink() as server, notifying(store) as notifier:
        job = end(server.url)
        in_rounds(store, notifier, lambda: server.received)

    [(headers, body)] = server.received
    assert Verifier(SIGNER.secret("tenant:local", 1)).verify(body, headers)["data"]["id"] == job.id


def test_an_endpoint_that_is_gone_is_turned_off(store: JobStore) -> None:
    with sink(reply(410)) as server, notifying(store, NEVER) as notifier:
        endpoint = store.add_webhook(LOCAL, server.url, ["job.canceled"], "")
        for _ in range(2):
            new = NewJob(id=new_job_id(), task="embed", input={})
            store.create([new])
            store.cancel(LOCAL, new.id)
        in_rounds(store, notifier, lambda: not store.webhook(LOCAL, endpoint.id).enabled)

    found = store.webhook(LOCAL, endpoint.id)
    assert found.disabled_because is not None
    assert "410" in found.disabled_because
    assert not store.has_deliveries()


def test_only_what_ended_is_told(store: JobStore, end: Callable[[str], Job]) -> None:
    with sink() as server:
        new = NewJob(id=new_job_id(), task="embed", input={}, webhook=Webhook(url=server.url))
        assert store.create([new])[0].state is JobState.QUEUED
        with notifying(store) as notifier:
            notifier.round()

    assert server.received == []
