"""The trail: one line for each request, each refusal with its code and who tried; never a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from shared.jobs import TenantId
from shared.keys import Scope, new_key
from tests.unit.api.conftest import Api

ACME = TenantId("acme")
EMBED = {"task": "embed", "input": {"texts": ["a secret prompt"]}}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Return what is logged, with the context that it is logged in."""
    from api import journal

    found: list[dict[str, Any]] = []

    def keep(_logger: object, method: str, event: Any) -> Any:
        found.append({**event, "level": method})
        raise structlog.DropEvent

    logger = structlog.wrap_logger(None, processors=[structlog.contextvars.merge_contextvars, keep])
    monkeypatch.setattr(journal, "log", logger)
    yield found
    structlog.contextvars.clear_contextvars()


def test_what_changed_something_is_a_line_with_its_request(api: Api, lines: list[dict[str, Any]]) -> None:
    response = api.client.post("/v1/jobs", json=EMBED, headers={"X-Request-Id": "mine-1"})

    [line] = lines
    assert line["event"] == "answered"
    assert line["level"] == "info"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/jobs", 202)
    assert line["request_id"] == response.headers["X-Request-Id"] == "mine-1"
    assert line["tenant"] == "local"
    assert line["ms"] >= 0


def test_a_look_is_told_to_those_who_want_to_know(api: Api, lines: list[dict[str, Any]]) -> None:
    api.client.get("/v1/jobs")

    assert [line["level"] for line in lines] == ["debug"]


def test_every_refusal_is_a_line_with_its_code(
    make_api: Callable[..., Api], lines: list[dict[str, Any]]
) -> None:
    api = make_api(require_keys=True, allowed_hosts="mine.example")
    reader = new_key()
    api.services.store.add_key(reader, ACME, name="test", scopes=[Scope.READ], lives=None)
    bearer = {"Authorization": f"Bearer {reader.token}"}

    api.client.get("/v1/jobs")
    api.client.post("/v1/jobs", json=EMBED, headers=bearer)
    api.client.get(f"/v1/jobs/job_{'0' * 32}", headers=bearer)
    api.client.get("/v1/jobs?page_size=0", headers=bearer)
    api.client.get("/v1/jobs", headers={"Host": "evil.example"})
    api.client.get("/nothing")
    api.client.get("/v1/jobs?a=" + reader.token, headers=bearer)

    told = [(line["event"], line["status"], line["code"], line.get("key")) for line in lines]
    assert told == [
        ("refused", 401, "unauthorized", None),
        ("refused", 403, "forbidden", reader.id),
        ("refused", 404, "not_found", reader.id),
        ("refused", 422, "invalid_request", reader.id),
        ("refused", 421, "host_not_allowed", None),
        ("refused", 404, "not_found", None),
        ("refused", 400, "bad_request", None),
    ]
    assert [line["level"] for line in lines[:2]] == ["warning", "warning"]
    assert all(line["remote"] == "127.0.0.1" for line in lines)


def test_a_line_holds_no_key_no_prompt_and_no_query(
    make_api: Callable[..., Api], lines: list[dict[str, Any]]
) -> None:
    api = make_api(require_keys=True)
    made = new_key()
    api.services.store.add_key(made, ACME, name="test", scopes=list(Scope), lives=None)
    bearer = {"Authorization": f"Bearer {made.token}"}

    api.client.post("/v1/jobs", json=EMBED, headers=bearer)
    api.client.get("/v1/jobs?label.who=canary", headers=bearer)
    api.client.get("/v1/jobs", headers={"Authorization": f"Bearer {made.token}x"})

    assert len(lines) == 3
    text = str(lines)
    assert made.token.removeprefix(f"ik_{made.id}_") not in text
    assert "secret prompt" not in text
    assert "canary" not in text


def test_nothing_of_a_request_is_left_for_the_next(api: Api, lines: list[dict[str, Any]]) -> None:
    api.client.get("/v1/jobs")
    api.client.get("/livez")

    assert "tenant" in lines[0]
    assert "tenant" not in lines[1]
