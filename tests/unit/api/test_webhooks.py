"""Endpoints that are told of every end: made, listed, changed, given new secrets, tested, deleted."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.jobs import LOCAL, Success
from shared.keys import Scope, new_key
from shared.store import MOST_WEBHOOKS, Delivery, Try, WebhookId
from tests.unit.api.conftest import Api
from tests.unit.api.problems import refused

URL = "https://hooks.example.org/take?token=s3cret"
UNKNOWN = "wh_" + "0" * 32
EVERY_END = ["job.succeeded", "job.failed", "job.canceled", "job.expired"]


@pytest.fixture
def told(make_api: Callable[..., Api]) -> Api:
    """Return a service that tells of jobs' ends."""
    return make_api(webhooks=True)


@pytest.fixture
def hook(told: Api) -> dict[str, Any]:
    """Return the answer to an endpoint's creation."""
    response = create(told)
    assert response.status_code == 201
    return dict(response.get_json())


def create(api: Api, **fields: Any) -> TestResponse:
    return api.client.post("/v1/webhooks", json={"url": URL, **fields})


def path_of(hook: dict[str, Any], *steps: str) -> str:
    return "/".join([hook["links"]["self"], *steps])


def end_a_job(api: Api) -> str:
    """Have a job succeed, and return its id."""
    api.client.post("/v1/jobs", json={"task": "embed", "input": {"texts": ["a cat"]}})
    claim = api.claim()
    api.services.store.succeed(claim, Success(result={}))
    return claim.id


def due(api: Api) -> list[Delivery]:
    return api.services.store.claim_deliveries(100, timedelta(minutes=1))


def test_a_new_webhook_is_answered_with_its_secret_and_where_it_is(told: Api) -> None:
    response = create(told, events=["job.failed", "job.failed"], description="on call")

    hook = response.get_json()
    assert response.status_code == 201
    assert response.headers["Location"] == hook["links"]["self"] == f"/v1/webhooks/{hook['id']}"
    assert hook["secret"] == told.services.signer.secret(hook["id"], 1)
    assert (hook["url"], hook["events"], hook["description"]) == (URL, ["job.failed"], "on call")
    assert (hook["enabled"], hook["disabled_because"], hook["rotated_at"]) == (True, None, None)


def test_a_webhook_that_names_no_events_is_told_of_every_end(hook: dict[str, Any]) -> None:
    assert (hook["events"], hook["description"]) == (EVERY_END, "")


def test_a_webhook_is_shown_without_its_secret_ever_after(told: Api, hook: dict[str, Any]) -> None:
    alone = told.client.get(path_of(hook)).get_json()
    listed = told.client.get("/v1/webhooks").get_json()

    assert alone == {name: value for name, value in hook.items() if name != "secret"}
    assert listed == {"webhooks": [alone]}


def test_the_secret_is_answered_to_whoever_asks_for_it(told: Api, hook: dict[str, Any]) -> None:
    assert told.client.get(path_of(hook, "secret")).get_json() == {"secret": hook["secret"]}


def test_the_secret_for_the_urls_of_jobs_is_the_tenants(told: Api, hook: dict[str, Any]) -> None:
    found = told.client.get("/v1/webhooks:secret").get_json()["secret"]

    assert found == told.services.signer.secret(f"tenant:{LOCAL}", 1)
    assert found != hook["secret"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": ""}, "/url"),
        ({"url": "https://example.org/" + "x" * 2048}, "/url"),
        ({"url": 7}, "/url"),
        ({"url": URL, "events": []}, "/events"),
        ({"url": URL, "events": ["job.running"]}, "/events/0"),
        ({"url": URL, "events": EVERY_END + EVERY_END[:1]}, "/events"),
        ({"url": URL, "events": "job.failed"}, "/events"),
        ({"url": URL, "description": "x" * 201}, "/description"),
        ({"url": URL, "secret": "whsec_mine"}, "/secret"),
        ({"url": URL, "enabled": False}, "/enabled"),
        ([], ""),
        ("https://example.org/", ""),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused_and_makes_nothing(
    told: Api, body: object, pointer: str
) -> None:
    refused(told.client.post("/v1/webhooks", json=body), 422, "invalid_request", pointer)

    assert told.client.get("/v1/webhooks").get_json() == {"webhooks": []}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "https://user:secret@example.org/",
        "https://example.org:25/",
        "http://127.0.0.1/",
        "http://0x7f000001/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://localhost/",
    ],
)
@pytest.mark.parametrize("verb", ["POST", "PATCH"])
def test_a_url_that_nobody_may_be_told_at_is_refused(
    told: Api, hook: dict[str, Any], url: str, verb: str
) -> None:
    path = "/v1/webhooks" if verb == "POST" else path_of(hook)

    problem = refused(told.client.open(path, method=verb, json={"url": url}), 422, "webhook_refused", "/url")

    assert "secret" not in problem["detail"]
    assert [one["url"] for one in told.client.get("/v1/webhooks").get_json()["webhooks"]] == [URL]


def test_where_webhooks_were_turned_off_nothing_is_promised_to_an_endpoint(api: Api) -> None:
    endpoint = api.services.store.add_webhook(LOCAL, URL, EVERY_END, "")
    message = "msg_" + "0" * 32

    for steps in ("test", f"deliveries/{message}/redeliver"):
        problem = refused(api.client.post(f"/v1/webhooks/{endpoint.id}/{steps}"), 422, "webhook_refused")
        assert "ICONOTEXT_WEBHOOKS=true" in problem["detail"]
    assert due(api) == []


def test_where_webhooks_are_off_none_is_made_and_the_setting_is_named(api: Api) -> None:
    problem = refused(create(api), 422, "webhook_refused", "")

    assert "ICONOTEXT_WEBHOOKS" in problem["detail"]


def test_a_body_that_is_no_json_is_refused(told: Api, hook: dict[str, Any]) -> None:
    for verb, path in (("POST", "/v1/webhooks"), ("PATCH", path_of(hook))):
        sent = {"method": verb, "content_type": "application/json"}
        refused(told.client.open(path, data=b"{", **sent), 400, "malformed_body")
        refused(told.client.open(path, method=verb, data=b"url=x"), 415, "unsupported_media_type")


def test_a_body_beyond_the_limit_is_refused(make_api: Callable[..., Api]) -> None:
    api = make_api(webhooks=True, limits={"body_bytes": 1_000})

    refused(create(api, description="x" * 1_000), 413, "body_too_large")


def test_beyond_the_most_webhooks_none_is_made(told: Api) -> None:
    for _ in range(MOST_WEBHOOKS):
        assert create(told).status_code == 201

    problem = refused(create(told), 422, "invalid_request", "")

    assert str(MOST_WEBHOOKS) in problem["detail"]
    assert len(told.client.get("/v1/webhooks").get_json()["webhooks"]) == MOST_WEBHOOKS


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"url": "https://moved.example.org/"}, {"url": "https://moved.example.org/"}),
        ({"events": ["job.failed", "job.failed"]}, {"events": ["job.failed"]}),
        ({"description": "night shift"}, {"description": "night shift"}),
        ({"enabled": False}, {"enabled": False, "disabled_because": "its owner turned it off"}),
        ({}, {}),
        ({"url": None, "events": None, "description": None, "enabled": None}, {}),
    ],
    ids=["url", "events", "description", "enabled", "nothing", "nulls"],
)
def test_a_change_changes_what_it_names(
    told: Api, hook: dict[str, Any], change: dict[str, Any], changed: dict[str, Any]
) -> None:
    before = told.client.get(path_of(hook)).get_json()

    response = told.client.patch(path_of(hook), json=change)

    assert response.status_code == 200
    assert response.get_json() == before | changed == told.client.get(path_of(hook)).get_json()


def test_a_webhook_that_was_turned_off_is_brought_back_by_its_owner(told: Api, hook: dict[str, Any]) -> None:
    told.services.store.disable_webhook(WebhookId(hook["id"]), "it answered 410: the endpoint is gone")
    off = told.client.get(path_of(hook)).get_json()

    on = told.client.patch(path_of(hook), json={"enabled": True}).get_json()

    assert (off["enabled"], off["disabled_because"]) == (False, "it answered 410: the endpoint is gone")
    assert (on["enabled"], on["disabled_because"]) == (True, None)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"url": ""}, "/url"),
        ({"events": []}, "/events"),
        ({"enabled": "yes"}, "/enabled"),
        ({"id": UNKNOWN}, "/id"),
        ({"secret": "whsec_mine"}, "/secret"),
    ],
)
def test_a_change_of_the_wrong_shape_changes_nothing(
    told: Api, hook: dict[str, Any], change: dict[str, Any], pointer: str
) -> None:
    before = told.client.get(path_of(hook)).get_json()

    refused(told.client.patch(path_of(hook), json=change), 422, "invalid_request", pointer)

    assert told.client.get(path_of(hook)).get_json() == before


def test_a_rotation_answers_the_new_secret_once(told: Api, hook: dict[str, Any]) -> None:
    rotated = told.client.post(path_of(hook, "rotate")).get_json()

    assert rotated["secret"] == told.services.signer.secret(hook["id"], 2) != hook["secret"]
    assert rotated["rotated_at"] is not None
    assert told.client.get(path_of(hook, "secret")).get_json() == {"secret": rotated["secret"]}
    assert "secret" not in told.client.get(path_of(hook)).get_json()


def test_a_test_message_is_booked_and_answered(told: Api, hook: dict[str, Any]) -> None:
    response = told.client.post(path_of(hook, "test"))

    booked = response.get_json()
    assert response.status_code == 202
    assert (booked["event"], booked["status"], booked["tries"]) == ("webhook.test", "pending", [])
    assert [one.id for one in due(told)] == [booked["id"]]


def test_a_deleted_webhook_is_gone_and_told_nothing_more(told: Api, hook: dict[str, Any]) -> None:
    end_a_job(told)

    response = told.client.delete(path_of(hook))

    assert (response.status_code, response.data) == (204, b"")
    assert due(told) == []
    refused(told.client.delete(path_of(hook)), 404, "not_found")
    assert told.client.get("/v1/webhooks").get_json() == {"webhooks": []}


def test_a_message_is_listed_with_its_tries_and_sent_again_when_asked_for(
    told: Api, hook: dict[str, Any]
) -> None:
    end_a_job(told)
    [first] = due(told)
    told.services.store.not_delivered(first.id, Try(status=500, error="it answered 500", ms=7), None)

    [listed] = told.client.get(path_of(hook, "deliveries")).get_json()["deliveries"]
    response = told.client.post(path_of(hook, "deliveries", first.id, "redeliver"))

    assert (listed["id"], listed["status"], listed["tries"][0]["status"]) == (first.id, "failed", 500)
    assert response.status_code == 202
    booked = response.get_json()
    assert (booked["id"], booked["status"], len(booked["tries"])) == (first.id, "pending", 1)
    assert [(again.id, again.body) for again in due(told)] == [(first.id, first.body)]


def test_a_disabled_webhook_takes_neither_tests_nor_redeliveries(told: Api, hook: dict[str, Any]) -> None:
    end_a_job(told)
    [message] = due(told)
    told.client.patch(path_of(hook), json={"enabled": False})

    for steps in (["test"], ["deliveries", message.id, "redeliver"]):
        problem = refused(told.client.post(path_of(hook, *steps)), 422, "invalid_request")
        assert "enable it" in problem["detail"]

    assert due(told) == []


def test_deliveries_come_in_pages_each_message_once(told: Api, hook: dict[str, Any]) -> None:
    for _ in range(5):
        end_a_job(told)
    pages, query = [], {"page_size": "2"}
    while query.get("page_token", "first"):
        page = told.client.get(path_of(hook, "deliveries"), query_string=query).get_json()
        pages.append([one["id"] for one in page["deliveries"]])
        query["page_token"] = page["next_page_token"]

    assert [len(page) for page in pages] == [2, 2, 1]
    newest_first = sorted((one.id for one in due(told)), reverse=True)
    assert [one for page in pages for one in page] == newest_first


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!!!",
        "bXNn=",
        "bXNn" * 127 + "x",
        urlsafe_b64encode(b"msg_\0").decode().rstrip("="),
        urlsafe_b64encode("msg_\u00e9".encode()).decode().rstrip("="),
        urlsafe_b64encode(b"\xff\xfe").decode().rstrip("="),
        # Not the shortest spelling of its bytes.
        "bXNnXx",
    ],
)
def test_a_page_token_that_no_page_answered_is_refused(told: Api, hook: dict[str, Any], token: str) -> None:
    answer = told.client.get(path_of(hook, "deliveries"), query_string={"page_token": token})

    refused(answer, 422, "invalid_request", "/page_token")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"page_size": "0"}, "/page_size"),
        ({"page_size": "-1"}, "/page_size"),
        ({"page_size": "many"}, "/page_size"),
        ({"page_token": "x" * 513}, "/page_token"),
        ({"page_token": "\u00e9"}, "/page_token"),
        ({"page": "2"}, "/page"),
    ],
)
def test_a_query_of_the_wrong_shape_is_refused(
    told: Api, hook: dict[str, Any], query: dict[str, str], pointer: str
) -> None:
    answer = told.client.get(path_of(hook, "deliveries"), query_string=query)

    refused(answer, 422, "invalid_request", pointer)


def test_a_page_larger_than_the_largest_is_the_largest(told: Api, hook: dict[str, Any]) -> None:
    end_a_job(told)

    answer = told.client.get(path_of(hook, "deliveries"), query_string={"page_size": "1000000"})

    assert len(answer.get_json()["deliveries"]) == 1


@pytest.mark.parametrize(
    ("verb", "steps"),
    [
        ("GET", []),
        ("PATCH", []),
        ("DELETE", []),
        ("GET", ["secret"]),
        ("POST", ["rotate"]),
        ("POST", ["test"]),
        ("GET", ["deliveries"]),
        ("POST", ["deliveries", "msg_" + "0" * 32, "redeliver"]),
    ],
)
@pytest.mark.parametrize("webhook_id", [UNKNOWN, "wh_1", "1", UNKNOWN.upper()])
def test_an_unknown_webhook_is_not_found(told: Api, verb: str, steps: list[str], webhook_id: str) -> None:
    path = "/".join(["/v1/webhooks", webhook_id, *steps])

    refused(told.client.open(path, method=verb, json={} if verb == "PATCH" else None), 404, "not_found")


def test_an_unknown_message_is_not_found(told: Api, hook: dict[str, Any]) -> None:
    for message in ("msg_" + "0" * 32, "msg_1", "1"):
        answer = told.client.post(path_of(hook, "deliveries", message, "redeliver"))
        refused(answer, 404, "not_found")


def test_secrets_and_changes_need_more_than_a_key_that_reads(make_api: Callable[..., Api]) -> None:
    api = make_api(webhooks=True, require_keys=True)
    admin, reader = new_key(), new_key()
    for key, scopes in ((admin, list(Scope)), (reader, [Scope.READ])):
        api.services.store.add_key(key, LOCAL, name="test", scopes=scopes, lives=None)
    bearer = {"Authorization": f"Bearer {admin.token}"}
    hook = api.client.post("/v1/webhooks", json={"url": URL}, headers=bearer).get_json()

    looking = {"Authorization": f"Bearer {reader.token}"}
    for verb, path in (
        ("POST", "/v1/webhooks"),
        ("GET", "/v1/webhooks:secret"),
        ("GET", path_of(hook, "secret")),
        ("POST", path_of(hook, "rotate")),
        ("PATCH", path_of(hook)),
        ("DELETE", path_of(hook)),
    ):
        refused(api.client.open(path, method=verb, headers=looking), 403, "forbidden")
