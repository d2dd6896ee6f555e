"""A job's end is told at least once, in the same words each time, whoever fails or dies meanwhile.

What arrives is verified with the package `standardwebhooks`, as its receivers are told to.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from client import Client, Delivery, WebhookEndpoint
from tests.e2e.conftest import Up, end, eventually
from tests.sinks import Sink, reply, sink

_TRY_S = 1.0
_ENV = {
    "ICONOTEXT_WEBHOOKS": "true",
    "ICONOTEXT_WEBHOOK_PRIVATE": "true",
    "ICONOTEXT_WEBHOOK_TIMEOUT": str(_TRY_S),
    "ICONOTEXT_WEBHOOK_WAITS": "0.1,0.2,0.2,0.2,0.2",
}


#: How a receiver is told that something is not what it seems.
_REFUSED = WebhookVerificationError


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a stack that tells of jobs' ends, is impatient, and knows its callers by their keys."""
    data_dir = tmp_path_factory.mktemp("webhooks") / "data"
    up = Up(data_dir, env={**_ENV, "ICONOTEXT_REQUIRE_KEYS": "true", "ICONOTEXT_DATA_DIR": str(data_dir)})
    try:
        yield up.wait_until_ready()
    finally:
        end([up])


def make_key(up: Up, tenant: str) -> str:
    """Return a new key of a tenant that nobody else has."""
    made = up.command("keys", "create", "test", "--tenant", f"{tenant}-{secrets.token_hex(4)}", "--quiet")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@pytest.fixture
def tenant(service: Up) -> Iterator[Callable[[str], Client]]:
    """Return a function that opens the service for a new tenant."""
    with ExitStack() as opened:
        yield lambda name: opened.enter_context(Client(service.url, api_key=make_key(service, name)))


@pytest.fixture
def client(tenant: Callable[[str], Client]) -> Client:
    return tenant("acme")


def only(client: Client, hook: WebhookEndpoint) -> Delivery:
    """Return an endpoint's one message; one without status while there is none."""
    found = list(client.webhooks.deliveries(hook.id))
    assert len(found) <= 1
    return found[0] if found else Delivery(id="")


def until(client: Client, hook: WebhookEndpoint, status: str) -> Delivery:
    """Return an endpoint's one message once it stands so."""
    eventually(lambda: only(client, hook).status == status, 30)
    return only(client, hook)


def verified(server: Sink, secret: str | None) -> list[dict[str, Any]]:
    """Return what a server was sent, each request verified with this secret."""
    return [Verifier(secret or "").verify(body, headers) for headers, body in server.received]


@pytest.fixture
def telling(start: Callable[..., Up]) -> Up:
    """Return a stack that tells of jobs' ends, and is impatient."""
    return start(**_ENV).wait_until_ready()


def submit(up: Up, url: str, text: str, headers: Mapping[str, str] = MappingProxyType({})) -> str:
    body = {"task": "embed", "input": {"texts": [text]}, "webhook": {"url": url}}
    answer = httpx.post(f"{up.url}/v1/jobs", json=body, headers=headers)
    return str(answer.raise_for_status().json()["id"])


def delivery(up: Up, job_id: str) -> dict[str, Any]:
    """Return the log of a job's one message; empty while there is none."""
    found = httpx.get(f"{up.url}/v1/jobs/{job_id}/deliveries").raise_for_status().json()["deliveries"]
    return dict(found[0]) if found else {}


def told_once(server: Sink) -> dict[str, Any]:
    """Return the message that all requests carried."""
    [(_, body)] = {(headers["webhook-id"], body) for headers, body in server.received}
    return dict(json.loads(body))


def test_an_endpoint_that_fails_and_hangs_is_told_until_it_listens(telling: Up) -> None:
    with sink(reply(500), reply(503)) as server:
        server.answers.append(server.hang)
        job_id = submit(telling, server.url, "red")
        eventually(lambda: delivery(telling, job_id).get("status") == "delivered", 30)
        log = delivery(telling, job_id)

    assert [tried["status"] for tried in log["tries"]] == [500, 503, None, 204]
    assert len(server.received) == 4
    message = told_once(server)
    assert (message["type"], message["data"]["id"]) == ("job.succeeded", job_id)
    with telling.client() as client:
        assert message["data"]["version"] == client.get(job_id).version


def test_a_worker_that_dies_amid_a_try_is_followed_by_another(telling: Up) -> None:
    with sink() as server:
        server.answers.append(server.hang)
        job_id = submit(telling, server.url, "fake:fail red")
        eventually(lambda: server.received)
        os.kill(telling.pid("worker-1"), signal.SIGKILL)
        eventually(lambda: delivery(telling, job_id).get("status") == "delivered", 60)

    message = told_once(server)
    assert len(server.received) == 2
    assert (message["type"], message["data"]["id"]) == ("job.failed", job_id)


def test_an_endpoint_gets_the_same_signed_message_until_it_takes_it(client: Client) -> None:
    with sink() as elsewhere, sink(reply(500)) as server:
        server.answers += [server.hang, reply(302, Location=elsewhere.url)]
        hook = client.webhooks.create(server.url)
        job = client.submit("embed", texts=["red"])
        log = until(client, hook, "delivered")
        messages = verified(server, hook.secret)

    assert [tried.status for tried in log.tries] == [500, None, 302, 204]
    assert "redirects are not followed" in (log.tries[2].error or "")
    assert elsewhere.received == []
    assert messages == [told_once(server)] * 4
    assert (messages[0]["type"], messages[0]["data"]["id"]) == ("job.succeeded", job.id)
    # By its id, which stays the same, a receiver drops what it has taken before.
    assert {headers["webhook-id"] for headers, _ in server.received} == {log.id}


def test_a_receiver_knows_an_old_message_that_is_sent_to_it_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sink() as server:
        hook = client.webhooks.create(server.url)
        client.webhooks.test(hook.id)
        until(client, hook, "delivered")
    [(headers, body)] = server.received
    verifier = Verifier(hook.secret or "")
    assert verifier.verify(body, headers)["type"] == "webhook.test"

    class SixMinutesLater(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(minutes=6)

    monkeypatch.setattr("standardwebhooks.webhooks.datetime", SixMinutesLater)

    with pytest.raises(_REFUSED, match="too old"):
        verifier.verify(body, headers)
    # Nor does it help to write another time, or another id, over it.
    now = str(int(SixMinutesLater.now().timestamp()))
    for forged in ({"webhook-timestamp": now}, {"webhook-timestamp": now, "webhook-id": "msg_1"}):
        with pytest.raises(_REFUSED, match="No matching signature"):
            verifier.verify(body, headers | forged)


def test_an_endpoint_that_says_it_is_gone_is_told_nothing_more_until_its_owner_enables_it(
    client: Client,
) -> None:
    with sink(reply(410)) as server:
        hook = client.webhooks.create(server.url)
        client.submit("embed", texts=["red"])
        eventually(lambda: not client.webhooks.get(hook.id).enabled, 30)
        log = only(client, hook)
        client.run("embed", texts=["blue"])
        off = client.webhooks.get(hook.id)
        assert [one.status for one in client.webhooks.deliveries(hook.id)] == ["failed"]
        client.webhooks.update(hook.id, enabled=True)
        client.webhooks.redeliver(hook.id, log)
        again = until(client, hook, "delivered")

    assert off.disabled_because is not None
    assert "410" in off.disabled_because
    assert [tried.status for tried in again.tries] == [410, 204]
    assert verified(server, hook.secret) == [told_once(server)] * 2


def test_after_a_rotation_a_message_is_signed_with_both_secrets(client: Client) -> None:
    with sink() as server:
        hook = client.webhooks.create(server.url)
        rotated = client.webhooks.rotate(hook.id)
        client.webhooks.test(hook.id)
        until(client, hook, "delivered")
        old, new = verified(server, hook.secret), verified(server, rotated.secret)

    assert old == new == [told_once(server)]
    assert client.webhooks.secret(hook.id) == rotated.secret != hook.secret
    [(headers, _)] = server.received
    assert len(headers["webhook-signature"].split()) == 2


def test_a_redelivered_message_has_the_id_and_the_body_that_it_had(client: Client) -> None:
    with sink() as server:
        hook = client.webhooks.create(server.url)
        first = client.webhooks.test(hook.id)
        until(client, hook, "delivered")
        client.webhooks.redeliver(hook.id, first)
        eventually(lambda: len(only(client, hook).tries) == 2)
        log = only(client, hook)

    assert (log.id, log.event, log.status) == (first.id, "webhook.test", "delivered")
    assert len(server.received) == 2
    assert verified(server, hook.secret) == [told_once(server)] * 2


def test_a_jobs_own_url_is_signed_for_with_its_tenants_secret(
    service: Up, tenant: Callable[[str], Client]
) -> None:
    key = make_key(service, "acme")
    with Client(service.url, api_key=key) as owner, sink() as server:
        job_id = submit(service, server.url, "red", {"Authorization": f"Bearer {key}"})
        eventually(lambda: server.received)
        secret = owner.webhooks.secret()

    [message] = verified(server, secret)
    assert message["data"]["id"] == job_id
    with pytest.raises(_REFUSED, match="No matching signature"):
        verified(server, tenant("other").webhooks.secret())


def test_nobody_is_told_of_another_tenants_jobs(tenant: Callable[[str], Client]) -> None:
    owner, other = tenant("acme"), tenant("other")
    with sink() as mine, sink() as theirs:
        hook, foreign = owner.webhooks.create(mine.url), other.webhooks.create(theirs.url)
        owner.run("embed", texts=["red"])
        until(owner, hook, "delivered")
        # What comes later than that has come by now.
        other.webhooks.test(foreign.id)
        until(other, foreign, "delivered")

    assert [message["type"] for message in verified(mine, hook.secret)] == ["job.succeeded"]
    assert [message["type"] for message in verified(theirs, foreign.secret)] == ["webhook.test"]


def test_an_endpoint_that_never_takes_a_message_is_given_up_for_that_one_only(client: Client) -> None:
    with sink(*[reply(500)] * 6) as server:
        hook = client.webhooks.create(server.url)
        client.webhooks.test(hook.id)
        log = until(client, hook, "failed")
        job = client.run("embed", texts=["red"])
        eventually(lambda: len(server.received) == 7)

    assert [tried.status for tried in log.tries] == [500] * 6
    assert client.webhooks.get(hook.id).enabled
    assert verified(server, hook.secret)[-1]["data"]["id"] == job.id
