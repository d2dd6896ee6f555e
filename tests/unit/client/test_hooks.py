"""`iconotext webhooks` says what happened in words, in JSON and in ids."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.client.conftest import Run
from tests.unit.client.fake_service import FakeService, problem

HOOK = {"id": "wh_1", "url": "https://example.org/hook", "events": ["job.failed"], "enabled": True}
OFF = {**HOOK, "id": "wh_2", "enabled": False, "disabled_because": "it answered 410"}
TRY = {"at": "2026-11-01T00:00:00Z", "status": 500, "error": None, "ms": 12.5}
DELIVERY = {"id": "msg_1", "event": "job.failed", "status": "pending", "tries": [TRY]}


def answer(service: FakeService, *bodies: Any) -> None:
    service.script = [httpx.Response(200, json=body) for body in bodies]


def test_webhooks_are_listed_with_why_one_is_off(run: Run, service: FakeService) -> None:
    answer(service, {"webhooks": [HOOK, OFF]})

    words = " ".join(run("webhooks", "list").stdout.split())

    assert "wh_1 https://example.org/hook job.failed enabled" in words
    assert "disabled: it answered 410" in words


def test_a_new_webhook_is_shown_with_its_secret(run: Run, service: FakeService) -> None:
    answer(service, {**HOOK, "secret": "whsec_1"})

    done = run("webhooks", "create", "https://example.org/hook", "--event", "job.failed")

    assert done.exit_code == 0
    assert "secret: whsec_1" in done.stdout
    assert json.loads(service.requests[0].content)["events"] == ["job.failed"]


@pytest.mark.parametrize(
    ("words", "body", "printed"),
    [
        (["list"], {"webhooks": [HOOK, OFF]}, "wh_1\nwh_2\n"),
        (["create", "https://example.org/hook"], {**HOOK, "secret": "whsec_1"}, "wh_1\n"),
        (["get", "wh_1"], HOOK, ""),
        (["update", "wh_1", "--disable"], HOOK, ""),
        (["test", "wh_1"], DELIVERY, "msg_1\n"),
        (["deliveries", "wh_1"], {"deliveries": [DELIVERY]}, "msg_1\n"),
        (["redeliver", "wh_1", "msg_1"], DELIVERY, ""),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_quiet_prints_the_ids_of_what_was_not_named(
    run: Run, service: FakeService, words: list[str], body: dict[str, Any], printed: str
) -> None:
    answer(service, body)

    done = run("webhooks", *words, "--quiet")

    assert (done.exit_code, done.stdout) == (0, printed)


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["create", "https://example.org/hook"], {**HOOK, "secret": "whsec_1"}),
        (["get", "wh_1"], HOOK),
        (["update", "wh_1", "--enable"], HOOK),
        (["rotate", "wh_1"], {**HOOK, "secret": "whsec_2"}),
        (["secret", "wh_1"], {"secret": "whsec_1"}),
        (["test", "wh_1"], DELIVERY),
        (["redeliver", "wh_1", "msg_1"], DELIVERY),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_json_is_what_the_service_said(
    run: Run, service: FakeService, words: list[str], body: dict[str, Any]
) -> None:
    answer(service, body)

    said = json.loads(run("webhooks", *words, "--json").stdout)

    assert {name: said[name] for name in body} == body


@pytest.mark.parametrize(
    ("words", "body"),
    [(["list"], {"webhooks": [HOOK, OFF]}), (["deliveries", "wh_1"], {"deliveries": [DELIVERY, DELIVERY]})],
    ids=["list", "deliveries"],
)
def test_many_are_a_list_in_json(
    run: Run, service: FakeService, words: list[str], body: dict[str, Any]
) -> None:
    answer(service, body)
    assert len(json.loads(run("webhooks", *words, "--json").stdout)) == 2


@pytest.mark.parametrize("words", [["secret"], ["secret", "wh_1"], ["rotate", "wh_1"]], ids=" ".join)
def test_a_secret_is_printed_alone_for_whoever_reads_it(
    run: Run, service: FakeService, words: list[str]
) -> None:
    answer(service, {**HOOK, "secret": "whsec_1"})
    assert run("webhooks", *words).stdout == "whsec_1\n"


def test_deliveries_say_how_the_last_try_went(run: Run, service: FakeService) -> None:
    answer(service, {"deliveries": [DELIVERY, {**DELIVERY, "tries": []}], "next_page_token": "more"})

    done = run("webhooks", "deliveries", "wh_1", "--limit", "2")

    assert "msg_1 job.failed pending 1 500" in " ".join(done.stdout.split())
    assert service.requests[0].url.params["page_size"] == "2"


def test_a_change_names_what_changes(run: Run, service: FakeService) -> None:
    answer(service, HOOK)
    run("webhooks", "update", "wh_1", "--description", "mine", "--event", "job.failed")
    assert json.loads(service.requests[0].content) == {"description": "mine", "events": ["job.failed"]}


def test_a_change_of_nothing_is_refused(run: Run, service: FakeService) -> None:
    done = run("webhooks", "update", "wh_1")

    assert done.exit_code == 2
    assert "--url, --event, --description, --enable or --disable" in done.stderr
    assert service.requests == []


def test_a_deleted_webhook_is_said(run: Run, service: FakeService) -> None:
    service.script = [httpx.Response(204)] * 3

    assert run("webhooks", "delete", "wh_1").stdout == "deleted wh_1\n"
    assert json.loads(run("webhooks", "delete", "wh_1", "--json").stdout) == {"deleted": ["wh_1"]}
    assert run("webhooks", "delete", "wh_1", "--quiet").stdout == ""


def test_a_webhook_that_is_not_there_is_status_two(run: Run, service: FakeService) -> None:
    service.script = [problem(404, "not_found", "there is no such webhook")]

    done = run("webhooks", "get", "wh_9", "--json")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "there is no such webhook" in done.stderr
