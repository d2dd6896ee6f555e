"""Every error says what was wrong and what to do about it."""

from __future__ import annotations

import pytest

from client import (
    Conflict,
    Forbidden,
    IconotextError,
    Job,
    JobFailed,
    NotFound,
    PartlySubmitted,
    RateLimited,
    RequestRefused,
    ServiceUnreachable,
    Unauthorized,
    WaitTimeout,
)
from client.answers import failure
from tests.unit.client.fake_service import problem

QUEUED = Job(id="job_1", task="match", status="queued", version=1)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed_body", RequestRefused),
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", Forbidden),
        (404, "not_found", NotFound),
        (409, "in_use", Conflict),
        (413, "body_too_large", RequestRefused),
        (422, "invalid_request", RequestRefused),
        (429, "rate_limited", RateLimited),
        (500, "internal", ServiceUnreachable),
        (503, "overloaded", ServiceUnreachable),
        (507, "blobs_full", ServiceUnreachable),
    ],
)
def test_a_status_has_a_kind_of_error(status: int, code: str, kind: type[IconotextError]) -> None:
    error = failure(problem(status, code, "no"), "http://service")

    assert type(error) is kind
    if isinstance(error, RequestRefused):
        assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (401, "unauthorized", "no; set ICONOTEXT_KEY or pass api_key; `iconotext keys create` makes one"),
        (403, "forbidden", "no; use a key with that scope; `iconotext keys create` makes one"),
        (
            403,
            "storage_quota_exceeded",
            "no; delete jobs or files that are no longer needed, `iconotext delete JOB`",
        ),
        (403, "origin_not_allowed", "no"),
        (404, "not_found", "no"),
        (500, "internal", "http://service cannot serve: no (status 500, request req_7); try again later"),
    ],
)
def test_an_error_says_what_to_do(status: int, code: str, advice: str) -> None:
    assert str(failure(problem(status, code, "no", request_id="req_7"), "http://service")) == advice


def test_a_limit_says_when_there_is_room_again() -> None:
    slow = problem(429, "rate_limited", "more than 60 requests a minute")
    assert "try again" not in str(failure(slow, "http://service"))

    slow.headers["Retry-After"] = "17"
    assert str(failure(slow, "http://service")) == "more than 60 requests a minute; try again in 17 s"


def test_a_refusal_names_its_request_for_whoever_reads_the_log() -> None:
    refused = failure(problem(422, "invalid_request", "no", request_id="req_7"), "http://service")
    assert isinstance(refused, RequestRefused)
    assert refused.request_id == "req_7"


@pytest.mark.parametrize(("retryable", "words"), [(True, "; submitting it again may help"), (False, "")])
def test_a_failed_job_says_why_and_whether_again_may_help(retryable: bool, words: str) -> None:
    error = {"code": "model_failed", "message": "it broke", "retryable": retryable}
    job = Job.model_validate({**QUEUED.to_json(), "status": "failed", "error": error})

    assert str(JobFailed(job)) == f"job job_1 failed: it broke (model_failed){words}"


def test_time_that_is_over_says_that_the_jobs_go_on() -> None:
    assert str(WaitTimeout(QUEUED, 2.5, others=3)) == (
        "job job_1 is still queued and 3 more have not ended after 2.5 s; "
        "it goes on: wait for it again, or cancel it"
    )


def test_a_list_that_broke_off_says_how_far_it_came() -> None:
    error = PartlySubmitted([QUEUED], 3, ServiceUnreachable("nothing answers at http://service"))

    assert str(error) == (
        "1 of 3 submissions were answered, then: nothing answers at http://service; "
        "whether those after them got through is unknown"
    )
    assert error.answered == (QUEUED,)


def test_one_class_catches_them_all() -> None:
    for kind in (RequestRefused, JobFailed, ServiceUnreachable, WaitTimeout):
        assert issubclass(kind, IconotextError)
    for kind in (Unauthorized, Forbidden, NotFound, Conflict, RateLimited):
        assert issubclass(kind, RequestRefused)
