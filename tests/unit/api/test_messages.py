"""What the document says of webhooks is what they are sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.jobs import Failure, JobState, Success
from shared.signing import Signer
from shared.store import Delivery
from tests.unit.api.conftest import Api
from tests.unit.api.test_documents import require_fit
from worker.notify import headers_of

LEASE = timedelta(minutes=1)


@pytest.fixture
def told(make_api: Callable[..., Api]) -> Api:
    """Return a service with a webhook that is told of every end."""
    api = make_api(webhooks=True)
    assert api.client.post("/v1/webhooks", json={"url": "https://example.org/"}).status_code == 201
    return api


def submit(api: Api, **wishes: Any) -> str:
    body = {"task": "embed", "input": {"texts": ["a"]}, "labels": {"album": "<b>"}, **wishes}
    return str(api.client.post("/v1/jobs", json=body).get_json()["id"])


def sent(api: Api) -> list[Delivery]:
    return api.services.store.claim_deliveries(10, LEASE)


def end_one_in_each_way(api: Api) -> None:
    store = api.services.store
    submit(api)
    store.succeed(api.claim(), Success(result={}))
    submit(api)
    store.fail(api.claim(), Failure(code="image_corrupt", message="the image is broken"))
    api.client.post(f"/v1/jobs/{submit(api)}/cancel")
    submit(api, start_within_s=0.001)
    deadline = time.monotonic() + 5
    while not store.expire_deadlines():
        assert time.monotonic() < deadline, "the job never expired"


def schema_of(document: dict[str, Any], event: str) -> dict[str, Any]:
    body = document["webhooks"][event]["post"]["requestBody"]
    return dict(body["content"]["application/json"]["schema"])


def test_every_message_is_documented_as_it_is_sent(told: Api) -> None:
    document = told.client.get("/openapi.json").get_json()
    [webhook] = told.client.get("/v1/webhooks").get_json()["webhooks"]
    end_one_in_each_way(told)
    told.client.post(f"{webhook['links']['self']}/test")

    messages = sent(told)

    assert {one.event for one in messages} == document["webhooks"].keys()
    for one in messages:
        body = json.loads(one.body)
        assert body["type"] == one.event
        require_fit(document, schema_of(document, one.event), body)


def test_every_ending_has_its_message(api: Api) -> None:
    document = api.client.get("/openapi.json").get_json()
    ends = {f"job.{state}" for state in JobState if state.is_terminal}

    assert document["webhooks"].keys() == ends | {"webhook.test"}


def test_a_message_has_the_headers_that_are_documented(told: Api) -> None:
    document = told.client.get("/openapi.json").get_json()
    submit(told)
    told.services.store.succeed(told.claim(), Success(result={}))
    [message] = sent(told)

    headers = headers_of(message, Signer(b"x" * 32))

    for webhook in document["webhooks"].values():
        told_of = {one["name"] for one in webhook["post"]["parameters"]}
        assert told_of == {name for name in headers if name.startswith("webhook-")}


def test_what_became_of_a_test_is_documented_as_it_is_answered(told: Api) -> None:
    document = told.client.get("/openapi.json").get_json()
    [webhook] = told.client.get("/v1/webhooks").get_json()["webhooks"]

    answer = told.client.post(f"{webhook['links']['self']}/test")

    require_fit(document, {"$ref": "#/components/schemas/Delivery"}, answer.get_json())
