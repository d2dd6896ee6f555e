"""An ended job is run again by asking for it, and those that died are found by their error."""

from __future__ import annotations

from typing import Any

import pytest

from api import answers
from shared.jobs import Failure, Success
from tests.unit.api.conftest import Api
from tests.unit.api.problems import refused

CLASSIFY: dict[str, Any] = {"task": "embed", "input": {"texts": ["a cat"]}}
DEAD = "attempts_exhausted"


def failed(api: Api, code: str = DEAD) -> dict[str, Any]:
    """Return a job that failed."""
    job = api.client.post("/v1/jobs", json=CLASSIFY).get_json()
    api.services.store.fail(api.claim(), Failure(code=code, message="no attempt is left"))
    return dict(api.client.get(f"/v1/jobs/{job['id']}").get_json())


def test_a_failed_job_is_queued_again_and_hinted(api: Api) -> None:
    before = failed(api)
    response = api.client.post(f"/v1/jobs/{before['id']}/retry")

    job = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{before['id']}"
    assert int(response.headers["Retry-After"]) > 0
    assert answers.Job.model_validate(job, strict=True)
    assert (job["id"], job["status"], job["generation"]) == (before["id"], "queued", 2)
    assert (job["error"], job["finished_at"]) == (None, None)
    assert job["retried_at"] >= before["created_at"] == job["created_at"]
    assert api.hints.sent[-1] == ("default", (before["id"],))


def test_a_retry_names_its_generation_and_happens_once(api: Api) -> None:
    job_id = failed(api, code="model_failed")["id"]
    for _ in range(2):
        job = api.client.post(f"/v1/jobs/{job_id}/retry?generation=1").get_json()
        assert (job["status"], job["generation"]) == ("queued", 2)
    api.services.store.fail(api.claim(), Failure(code=DEAD, message="again"))

    late = api.client.post(f"/v1/jobs/{job_id}/retry?generation=1")
    assert late.status_code == 200
    assert (late.get_json()["status"], late.get_json()["generation"]) == ("failed", 2)
    assert "Retry-After" not in late.headers


def test_a_succeeded_job_stays_as_it_is(api: Api) -> None:
    job_id = api.client.post("/v1/jobs", json=CLASSIFY).get_json()["id"]
    api.services.store.succeed(api.claim(), Success(result={"dim": 1}))

    response = api.client.post(f"/v1/jobs/{job_id}/retry")
    assert response.status_code == 200
    assert (response.get_json()["status"], response.get_json()["result"]) == ("succeeded", {"dim": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("generation", "0"), ("generation", "x"), ("generation", "9999999999"), ("attempt", "1")],
)
def test_a_generation_that_is_none_is_refused(api: Api, name: str, value: str) -> None:
    job_id = failed(api)["id"]
    refused(api.client.post(f"/v1/jobs/{job_id}/retry?{name}={value}"), 422, "invalid_request", f"/{name}")
    assert api.client.get(f"/v1/jobs/{job_id}").get_json()["status"] == "failed"


def test_an_unknown_job_cannot_be_retried(api: Api) -> None:
    refused(api.client.post("/v1/jobs/job_0/retry"), 404, "not_found")


def test_dead_jobs_are_listed_by_their_error_until_they_are_retried(api: Api) -> None:
    dead = failed(api)["id"]
    failed(api, code="model_failed")

    def found(query: str) -> list[str]:
        return [job["id"] for job in api.client.get(f"/v1/jobs?{query}").get_json()["jobs"]]

    assert found(f"error={DEAD}") == found(f"status=failed&error={DEAD}") == [dead]
    assert found(f"status=succeeded&error={DEAD}") == []
    api.client.post(f"/v1/jobs/{dead}/retry")
    assert found(f"error={DEAD}") == []


@pytest.mark.parametrize("code", ["attempts-exhausted", "", "x" * 300, "%00"])
def test_a_code_that_is_none_is_refused_with_those_there_are(api: Api, code: str) -> None:
    problem = refused(api.client.get(f"/v1/jobs?error={code}"), 422, "invalid_request", "/error")
    assert DEAD in problem["detail"]
