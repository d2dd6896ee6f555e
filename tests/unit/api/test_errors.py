from __future__ import annotations

import pytest
from werkzeug.exceptions import HTTPException, default_exceptions

from api import errors
from shared.errors import (
    BlobsFull,
    DatabaseFull,
    IconotextError,
    InvalidRequest,
    MalformedBody,
    Overloaded,
    Problem,
    StoreUnavailable,
    TooManyJobs,
    UnknownTask,
    every_error,
)
from tests.unit.api.conftest import Api
from tests.unit.api.problems import refused


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind: type) -> None:
    status = errors.STATUS[kind.code]  # type: ignore[attr-defined]

    assert 400 <= status < 600


def test_what_may_work_later_says_429_503_or_507_and_nothing_else_does() -> None:
    later = {kind.code for kind in every_error() if kind.retryable}

    assert {code for code, status in errors.STATUS.items() if status in {429, 503, 507}} == later


@pytest.mark.parametrize(("kind", "status"), [(TooManyJobs, 429), (Overloaded, 503)])
def test_a_refusal_says_when_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch, kind: type[TooManyJobs | Overloaded], status: int
) -> None:
    def refuse(*_: object) -> None:
        raise kind("too much waits", retry_after_s=17)

    monkeypatch.setattr(type(api.services.admission), "check", refuse)

    response = api.client.post("/v1/jobs", json={"task": "embed", "input": {"texts": ["a"]}})

    refused(response, status, kind.code)
    assert response.headers["Retry-After"] == "17"


@pytest.mark.parametrize("kind", [DatabaseFull, BlobsFull])
def test_a_full_disk_says_507_with_a_time_to_retry(
    api: Api, monkeypatch: pytest.MonkeyPatch, kind: type[IconotextError]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("no room")

    monkeypatch.setattr(type(api.services.store), "create", fail)

    response = api.client.post("/v1/jobs", json={"task": "embed", "input": {"texts": ["a"]}})

    refused(response, 507, kind.code)
    assert int(response.headers["Retry-After"]) > 2


@pytest.mark.parametrize(
    "error", [error() for code, error in default_exceptions.items() if code not in (412, 428)]
)
def test_whatever_the_framework_raises_becomes_a_problem(api: Api, error: HTTPException) -> None:
    with api.app.test_request_context("/"):
        response = errors._of_werkzeug(error)

    assert response.mimetype == "application/problem+json"
    assert 400 <= response.status_code < 600


def test_an_unknown_route_is_a_problem(api: Api) -> None:
    refused(api.client.get("/v2/jobs"), 404, "not_found")


def test_a_wrong_method_names_the_right_ones(api: Api) -> None:
    response = api.client.put("/v1/jobs")

    refused(response, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


def test_an_unavailable_database_is_503_with_a_time_to_retry(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("the database does not answer")

    monkeypatch.setattr(type(api.services.store), "create", fail)

    response = api.client.post("/v1/jobs", json={"task": "embed", "input": {"texts": ["a"]}})

    refused(response, 503, "store_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert api.hints.sent == []


def test_an_unforeseen_error_tells_the_caller_nothing_but_a_number(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret words")

    monkeypatch.setattr(type(api.services.store), "list", fail)

    response = api.client.get("/v1/jobs", headers={"X-Request-Id": "abc-123"})

    refused(response, 500, "internal")
    assert "abc-123" in response.get_data(as_text=True)
    for word in ("secret", "Zero", "Traceback", ".py"):
        assert word not in response.get_data(as_text=True)


def test_a_sane_request_id_is_kept(api: Api) -> None:
    assert api.client.get("/livez", headers={"X-Request-Id": "abc-123"}).headers["X-Request-Id"] == "abc-123"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "ä"])
def test_another_request_id_is_replaced(api: Api, given: str) -> None:
    answered = api.client.get("/livez", headers={"X-Request-Id": given}).headers["X-Request-Id"]

    assert answered != given
    assert answered.startswith("req_")


def test_faults_of_one_code_make_an_error_of_that_code() -> None:
    faults = [Problem("/a", "first", "unknown_task"), Problem("/b", "second", "unknown_task")]

    error = errors.refusal(faults)

    assert type(error) is UnknownTask
    assert error.message == "2 faults; the first: first"


def test_faults_of_several_codes_make_an_invalid_request() -> None:
    error = errors.refusal([Problem("/a", "first", "unknown_task"), Problem("/b", "second")])

    assert type(error) is InvalidRequest


def test_one_fault_of_form_makes_the_body_malformed() -> None:
    error = errors.refusal([Problem("/a", "first", "malformed_body"), Problem("/b", "second")])

    assert type(error) is MalformedBody


def test_a_pointer_escapes_its_parts() -> None:
    assert errors.pointer(("a/b", 0, "c~d", "")) == "/a~1b/0/c~0d/"
