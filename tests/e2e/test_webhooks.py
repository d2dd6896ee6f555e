"""A job's end is told at least once, in the same words each time, whoever fails or dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Up, eventually
from tests.sinks import Sink, reply, sink

_TRY_S = 1.0
_ENV = {
    "ICONOTEXT_WEBHOOKS": "true",
    "ICONOTEXT_WEBHOOK_PRIVATE": "true",
    "ICONOTEXT_WEBHOOK_TIMEOUT": str(_TRY_S),
    "ICONOTEXT_WEBHOOK_WAITS": "0.1,0.2,0.2,0.2,0.2",
}


@pytest.fixture
def telling(start: Callable[..., Up]) -> Up:
    """Return a stack that tells of jobs' ends, and is impatient."""
    return start(**_ENV).wait_until_ready()


def submit(up: Up, url: str, text: str) -> str:
    body = {"task": "embed", "input": {"texts": [text]}, "webhook": {"url": url}}
    return str(httpx.post(f"{up.url}/v1/jobs", json=body).raise_for_status().json()["id"])


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
