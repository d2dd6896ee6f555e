"""The trail: one line for each request, each refusal with its code and who tried; never a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from werkzeug.test import TestResponse

from shared.jobs import JobId, NewJob, TenantId, new_job_id
from shared.keys import Scope, new_key
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import png
from tests.unit.api.problems import refused

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


@dataclass(frozen=True)
class Refusal:
    """A request that is refused, and what its line says of it."""

    status: int
    code: str
    #: None: the request came to none.
    route: str | None
    send: Callable[[Api, dict[str, str]], TestResponse]
    #: Whether it was known who sent it.
    is_known: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)


def _post(api: Api, headers: dict[str, str], **extra: str) -> TestResponse:
    return api.client.post("/v1/jobs?label.a=canary", json=EMBED, headers=headers | extra)


def _post_twice(api: Api, headers: dict[str, str]) -> TestResponse:
    _post(api, headers)
    return _post(api, headers)


def _upload(api: Api, headers: dict[str, str]) -> TestResponse:
    return api.client.post("/v1/files", data=png(3, 5), content_type="image/png", headers=headers)


REFUSALS = {
    "without a key": Refusal(
        401, "unauthorized", "/v1/jobs", lambda api, _: _post(api, {}), is_known=False
    ),
    "with a key that is none": Refusal(
        401, "unauthorized", "/v1/jobs",
        lambda api, _: _post(api, {"Authorization": "Bearer canary"}), is_known=False,
    ),
    "with a scope that is missing": Refusal(
        403, "forbidden", "/v1/system", lambda api, headers: api.client.get("/v1/system", headers=headers)
    ),
    "from another origin": Refusal(
        403, "origin_not_allowed", "/v1/jobs",
        lambda api, headers: _post(api, headers, Origin="https://canary.example"), is_known=False,
    ),
    "by another name": Refusal(
        421, "host_not_allowed", "/v1/jobs",
        lambda api, headers: _post(api, headers, Host="canary.example"), is_known=False,
    ),
    "with a key in the address": Refusal(
        400, "bad_request", "/v1/jobs",
        lambda api, headers: api.client.get(f"/v1/jobs?a={new_key().token}", headers=headers), is_known=False,
    ),
    "for what is foreign": Refusal(
        404, "not_found", "/v1/jobs/<job:job_id>",
        lambda api, headers: api.client.get(f"/v1/jobs/{foreign_job(api)}", headers=headers),
    ),
    "for what is nowhere": Refusal(
        404, "not_found", None,
        lambda api, headers: api.client.get("/canary", headers=headers), is_known=False,
    ),
    "with a method that is none": Refusal(
        405, "method_not_allowed", None,
        lambda api, headers: api.client.put("/v1/jobs", headers=headers), is_known=False,
    ),
    "with too large a body": Refusal(
        413, "body_too_large", "/v1/jobs", _post, settings={"limits": {"body_bytes": 10}}
    ),
    "with too large a file": Refusal(
        413, "file_too_large", "/v1/files", _upload, settings={"limits": {"file_bytes": 10}}
    ),
    "beyond what may be kept": Refusal(
        403, "storage_quota_exceeded", "/v1/files", _upload, settings={"max_stored_bytes": 10}
    ),
    "with a body that is wrong": Refusal(
        422, "unknown_task", "/v1/jobs",
        lambda api, headers: api.client.post(
            "/v1/jobs", json={"task": "canary", "input": {}}, headers=headers
        ),
    ),
    "beyond a rate": Refusal(429, "rate_limited", "/v1/jobs", _post_twice, settings={"jobs_per_minute": 1}),
    "beyond what may wait": Refusal(
        429, "too_many_jobs", "/v1/jobs", _post_twice, settings={"max_queued_jobs": 1}
    ),
}  # fmt: skip


def foreign_job(api: Api) -> JobId:
    """Return another tenant's job."""
    new = NewJob(id=new_job_id(), tenant=TenantId("other"), task="embed", input={})
    api.services.store.create([new])
    return new.id


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_one_line_that_says_what_who_and_why_and_no_secret(
    make_api: Callable[..., Api], lines: list[dict[str, Any]], name: str
) -> None:
    refusal = REFUSALS[name]
    api = make_api(require_keys=True, allowed_hosts="localhost", **refusal.settings)
    made = new_key()
    scopes = [Scope.READ, Scope.SUBMIT]
    api.services.store.add_key(made, ACME, name="test", scopes=scopes, lives=None)

    response = refusal.send(api, {"Authorization": f"Bearer {made.token}"})

    refused(response, refusal.status, refusal.code)
    [line] = [line for line in lines if line["event"] == "refused"]
    assert (line["status"], line["code"], line["route"]) == (refusal.status, refusal.code, refusal.route)
    assert line["request_id"] == response.headers["X-Request-Id"]
    assert line["remote"] == "127.0.0.1"
    who = (ACME, made.id) if refusal.is_known else (None, None)
    assert (line.get("tenant"), line.get("key")) == who
    for secret in (made.token.removeprefix(f"ik_{made.id}_"), "canary", "secret prompt"):
        assert secret not in str(line)


def test_a_key_that_is_good_no_more_is_named_by_its_refusal(
    make_api: Callable[..., Api], lines: list[dict[str, Any]]
) -> None:
    api = make_api(require_keys=True)
    revoked, never = new_key(), new_key()
    api.services.store.add_key(revoked, ACME, name="test", scopes=list(Scope), lives=None)
    api.services.store.revoke_key(revoked.id)

    for made in (revoked, never):
        api.client.get("/v1/jobs", headers={"Authorization": f"Bearer {made.token}"})

    assert [(line["code"], line["claimed_key"]) for line in lines] == [
        ("unauthorized", revoked.id),
        ("unauthorized", never.id),
    ]
    # Nobody knows whose it is: the secret may be wrong as well.
    assert not any({"key", "tenant"} & line.keys() for line in lines)


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
