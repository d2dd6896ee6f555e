"""Whom to tell of a job's end, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.jobs import Success, new_job_id
from shared.store import Try
from tests.unit.api.conftest import Api

URL = "https://hooks.example.org/take?token=s3cret"


@pytest.fixture
def told(make_api: Callable[..., Api]) -> Api:
    """Return a service that tells of jobs' ends."""
    return make_api(webhooks=True)


def submit(api: Api, webhook: object) -> Any:
    body = {"task": "embed", "input": {"texts": ["a cat"]}, "webhook": webhook}
    return api.client.post("/v1/jobs", json=body)


def fault(api: Api, webhook: object) -> dict[str, str]:
    """Submit what is refused, and return the one fault; nothing was written."""
    answer = submit(api, webhook)
    assert answer.status_code == 422, answer.json
    assert api.written() == (0, 0, 0, 0)
    [found] = answer.json["errors"]
    return dict(found)


def test_a_webhook_is_refused_where_they_are_off_and_the_setting_named(api: Api) -> None:
    found = fault(api, {"url": URL})

    assert (found["code"], found["pointer"]) == ("webhook_refused", "/webhook")
    assert "ICONOTEXT_WEBHOOKS" in found["detail"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "example.org/hook",
        "https://",
        "https://user:secret@example.org/",
        "https://user@example.org/",
        "https://example.org:99999/",
        "https://exa mple.org/",
        "https://[::1/",
        "http://127.0.0.1:8000/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
    ],
)
def test_a_url_that_nobody_may_be_told_at_is_refused(told: Api, url: str) -> None:
    found = fault(told, {"url": url})

    assert (found["code"], found["pointer"]) == ("webhook_refused", "/webhook/url")


@pytest.mark.parametrize(
    ("webhook", "pointer"),
    [
        ({}, "/webhook/url"),
        ({"url": ""}, "/webhook/url"),
        ({"url": "https://example.org/" + "x" * 2048}, "/webhook/url"),
        ({"url": 7}, "/webhook/url"),
        ({"url": URL, "events": []}, "/webhook/events"),
        ({"url": URL, "events": ["job.running"]}, "/webhook/events/0"),
        ({"url": URL, "secret": "x"}, "/webhook/secret"),
        (URL, "/webhook"),
    ],
)
def test_a_webhook_of_the_wrong_shape_is_refused(told: Api, webhook: object, pointer: str) -> None:
    assert fault(told, webhook)["pointer"] == pointer


def test_private_addresses_are_taken_where_they_are_allowed(make_api: Callable[..., Api]) -> None:
    api = make_api(webhooks=True, webhook_private=True)

    assert submit(api, {"url": "http://127.0.0.1:9000/hook"}).status_code == 202


def test_a_batch_says_which_webhook_it_refuses(api: Api) -> None:
    plain = {"task": "embed", "input": {"texts": ["a cat"]}}

    outcomes = api.client.post("/v1/jobs:batch", json=[plain, plain | {"webhook": {"url": URL}}]).json["jobs"]

    assert [outcome["status"] for outcome in outcomes] == [202, 422]
    assert outcomes[1]["problem"]["errors"][0]["pointer"] == "/1/webhook"


def test_an_end_that_is_wanted_is_told_and_no_other(told: Api) -> None:
    for events in (["job.failed"], ["job.succeeded", "job.succeeded"]):
        assert submit(told, {"url": URL, "events": events}).status_code == 202
        told.services.store.succeed(told.claim(), Success(result={}))

    [due] = told.services.store.claim_deliveries(9, timedelta(minutes=1))

    assert (due.event, due.url) == ("job.succeeded", URL)


def test_the_job_and_its_log_do_not_show_the_url(told: Api) -> None:
    job = submit(told, {"url": URL}).json
    told.client.post(job["links"]["cancel"])

    for path in (job["links"]["self"], f"{job['links']['self']}/deliveries", "/v1/jobs"):
        assert "s3cret" not in told.client.get(path).text


def test_the_log_tells_every_try(told: Api) -> None:
    job = submit(told, {"url": URL}).json
    path = f"{job['links']['self']}/deliveries"
    assert told.client.get(path).json == {"deliveries": []}
    told.client.post(job["links"]["cancel"])
    store = told.services.store
    [due] = store.claim_deliveries(9, timedelta(minutes=1))
    store.not_delivered(due.id, Try(status=500, error="it answered 500", ms=12), timedelta(seconds=5))

    [told_of] = told.client.get(path).json["deliveries"]

    assert {name: told_of[name] for name in ("id", "event", "status", "ended_at")} == {
        "id": due.id,
        "event": "job.canceled",
        "status": "pending",
        "ended_at": None,
    }
    [tried] = told_of["tries"]
    assert {name: tried[name] for name in ("status", "error", "ms")} == {
        "status": 500,
        "error": "it answered 500",
        "ms": 12,
    }
    assert told_of["created_at"] <= tried["at"] < told_of["next_at"]

    store.delivered(due.id, Try(status=204, error=None, ms=3))
    [told_of] = told.client.get(path).json["deliveries"]
    assert (told_of["status"], told_of["next_at"], len(told_of["tries"])) == ("delivered", None, 2)
    assert told_of["ended_at"] == told_of["tries"][1]["at"]


def test_an_unknown_job_has_no_log(told: Api) -> None:
    assert told.client.get(f"/v1/jobs/{new_job_id()}/deliveries").status_code == 404
