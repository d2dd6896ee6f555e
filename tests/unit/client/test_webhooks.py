"""A tenant's webhooks from Python, as the HTTP contract has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from client import Client, NotFound, RequestRefused, ServiceUnreachable, WebhookEndpoint
from tests.unit.client.fake_service import FakeService, problem

URL = "https://example.org/hook"
HOOK = {"id": "wh_1", "url": URL, "events": ["job.failed"], "enabled": True}
DELIVERY = {"id": "msg_1", "event": "job.failed", "status": "pending", "tries": []}
SECRET = {"secret": "whsec_1"}


@pytest.mark.parametrize(
    ("call", "answer", "asked", "body"),
    [
        (lambda hooks: hooks.create(URL), HOOK, "POST /v1/webhooks", {"url": URL}),
        (
            lambda hooks: hooks.create(URL, events=["job.failed"], description="mine"),
            HOOK,
            "POST /v1/webhooks",
            {"url": URL, "events": ["job.failed"], "description": "mine"},
        ),
        (lambda hooks: hooks.list(), {"webhooks": [HOOK]}, "GET /v1/webhooks", None),
        (lambda hooks: hooks.get("wh_1"), HOOK, "GET /v1/webhooks/wh_1", None),
        (lambda hooks: hooks.get("../jobs"), HOOK, "GET /v1/webhooks/..%2Fjobs", None),
        (
            lambda hooks: hooks.update("wh_1", enabled=False),
            HOOK,
            "PATCH /v1/webhooks/wh_1",
            {"enabled": False},
        ),
        (lambda hooks: hooks.secret(), SECRET, "GET /v1/webhooks:secret", None),
        (lambda hooks: hooks.secret("wh_1"), SECRET, "GET /v1/webhooks/wh_1/secret", None),
        (lambda hooks: hooks.rotate("wh_1"), HOOK, "POST /v1/webhooks/wh_1/rotate", None),
        (lambda hooks: hooks.test("wh_1"), DELIVERY, "POST /v1/webhooks/wh_1/test", None),
        (
            lambda hooks: hooks.redeliver("wh_1", "msg_1"),
            DELIVERY,
            "POST /v1/webhooks/wh_1/deliveries/msg_1/redeliver",
            None,
        ),
    ],
)
def test_a_method_asks_what_the_contract_says(
    client: Client,
    service: FakeService,
    call: Callable[[Any], object],
    *,
    answer: dict[str, Any],
    asked: str,
    body: dict[str, Any] | None,
) -> None:
    service.script = [httpx.Response(200, json=answer)]

    assert call(client.webhooks)

    [request] = service.requests
    assert f"{request.method} {request.url.raw_path.decode()}" == asked
    assert (json.loads(request.content) if request.content else None) == body


def test_a_secret_is_told_and_not_shown_by_chance(client: Client, service: FakeService) -> None:
    service.script = [httpx.Response(201, json={**HOOK, "secret": "whsec_1"})]

    made = client.webhooks.create(URL)

    assert made.secret == "whsec_1"
    assert "whsec_1" not in repr(made)


def test_deliveries_are_read_page_by_page_as_they_are_asked_for(client: Client, service: FakeService) -> None:
    pages = [
        {"deliveries": [DELIVERY, {**DELIVERY, "id": "msg_2"}], "next_page_token": "more"},
        {"deliveries": [{**DELIVERY, "id": "msg_3"}], "next_page_token": None},
    ]
    service.script = [httpx.Response(200, json=page) for page in pages]
    found = client.webhooks.deliveries("wh_1", page_size=2)

    assert next(found).id == "msg_1"
    assert len(service.requests) == 1
    assert [delivery.id for delivery in found] == ["msg_2", "msg_3"]

    assert dict(service.requests[0].url.params) == {"page_size": "2"}
    assert dict(service.requests[1].url.params) == {"page_size": "2", "page_token": "more"}


def test_a_delivery_tells_how_each_try_went(client: Client, service: FakeService) -> None:
    tries = [{"at": "2026-11-01T00:00:00Z", "status": 500, "error": None, "ms": 12.5}]
    page = {"deliveries": [{**DELIVERY, "status": "delivered", "tries": tries}], "next_page_token": None}
    service.script = [httpx.Response(200, json=page)]

    [delivery] = client.webhooks.deliveries("wh_1")

    assert (delivery.status, delivery.tries[0].status, delivery.tries[0].ms) == ("delivered", 500, 12.5)


def test_a_delivery_is_redelivered_by_itself_or_by_its_id(client: Client, service: FakeService) -> None:
    service.script = [httpx.Response(202, json=DELIVERY)] * 2

    client.webhooks.redeliver("wh_1", client.webhooks.redeliver("wh_1", "msg_1"))

    [first, second] = service.requests
    assert first.url == second.url


def test_a_webhook_is_deleted_though_the_answer_was_lost(client: Client, service: FakeService) -> None:
    gone = problem(404, "not_found", "there is no such webhook")
    service.script = [httpx.ReadError("reset"), gone]
    client.webhooks.delete("wh_1")

    service.script = [gone]
    with pytest.raises(NotFound):
        client.webhooks.delete("wh_1")


def test_a_change_is_sent_again_when_it_broke_off(client: Client, service: FakeService) -> None:
    service.script = [httpx.ReadError("reset"), httpx.Response(200, json=HOOK)]
    assert isinstance(client.webhooks.update("wh_1", enabled=True), WebhookEndpoint)


@pytest.mark.parametrize(
    ("name", "given"),
    [("create", URL), ("rotate", "wh_1"), ("test", "wh_1")],
)
def test_what_would_be_done_twice_is_not_sent_again(
    client: Client, service: FakeService, name: str, given: str
) -> None:
    service.script = [httpx.ReadError("reset")]
    with pytest.raises(ServiceUnreachable, match="broke off during POST"):
        getattr(client.webhooks, name)(given)
    assert len(service.requests) == 1


def test_a_target_that_is_refused_says_why(client: Client, service: FakeService) -> None:
    service.script = [problem(422, "webhook_refused", "webhooks are off here; set ICONOTEXT_WEBHOOKS=true")]
    with pytest.raises(RequestRefused, match="ICONOTEXT_WEBHOOKS"):
        client.webhooks.create(URL)
