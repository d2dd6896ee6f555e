"""`cache: true`: an earlier result answers at submit, when task, input and models are the same."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from shared.caching import result_key
from shared.jobs import JobId, Json, Success, TenantId, WorkerId
from shared.schemas import catalogue
from tests.unit.api.conftest import WORKER, Api
from tests.unit.api.pictures import png
from tests.unit.api.problems import refused

TEXT = {"task": "embed", "input": {"texts": ["a"], "space": "text"}, "cache": True}
MODELS: dict[str, Json] = {"TextEncoder": {"id": "minilm", "revision": "1", "grade": "starter"}}
NEWER: dict[str, Json] = {"TextEncoder": {"id": "minilm", "revision": "2", "grade": "starter"}}


@pytest.fixture(autouse=True)
def _ask_workers_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.caching._FRESH_S", 0.0)


def announce(api: Api, models: dict[str, Json] = MODELS, worker: WorkerId = WORKER) -> None:
    api.services.store.announce(worker, {"pools": ["default"], "models": models})


def work(api: Api, models: dict[str, Json] = MODELS) -> JobId:
    """Run the next job as a worker with these models would."""
    claim = api.claim()
    key = result_key(claim.task, claim.input, models, catalogue()[claim.task].needs) if claim.cache else None
    api.services.store.succeed(
        claim, Success(result={"made": "once"}, provenance={"models": []}, cache_key=key)
    )
    return claim.id


def submit(api: Api, **fields: Any) -> tuple[int, dict[str, Any]]:
    response = api.client.post("/v1/jobs", json={**TEXT, **fields})
    return response.status_code, response.get_json()


def test_an_equal_submit_is_answered_by_the_earlier_result_at_once(api: Api) -> None:
    announce(api)
    assert submit(api)[0] == 202
    first = work(api)

    status, job = submit(api)

    assert (status, job["status"], job["result"]) == (200, "succeeded", {"made": "once"})
    assert (job["cached_from"], job["id"] == first) == (first, False)
    assert job["finished_at"]
    # Nobody is told of a job that needs nobody.
    assert len(api.hints.sent) == 1
    assert api.client.get(job["links"]["self"]).get_json() == job


def test_a_job_that_ran_itself_names_no_other(api: Api) -> None:
    announce(api)

    assert submit(api)[1]["cached_from"] is None


@pytest.mark.parametrize(
    "other",
    [
        {"cache": False},
        {"input": {"texts": ["b"], "space": "text"}},
        {"input": {"texts": ["a"], "space": "joint"}},
    ],
)
def test_whatever_else_is_asked_is_computed(api: Api, other: dict[str, Any]) -> None:
    announce(api)
    submit(api)
    work(api)

    assert submit(api, **other)[0] == 202


def test_what_did_not_allow_it_answers_no_other(api: Api) -> None:
    announce(api)
    submit(api, cache=False)
    work(api)

    assert submit(api)[0] == 202


def test_other_models_give_another_answer(api: Api) -> None:
    announce(api)
    submit(api)
    work(api)
    announce(api, NEWER)

    assert submit(api)[0] == 202


def test_the_models_of_any_living_worker_will_do(api: Api) -> None:
    announce(api, NEWER, WorkerId("another"))
    announce(api)
    submit(api)
    work(api)

    assert submit(api)[0] == 200


def test_a_foreign_result_answers_nobody_else(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(api)
    monkeypatch.setattr("api.jobs.tenant", lambda: TenantId("ann"))
    submit(api)
    work(api)
    assert submit(api)[0] == 200

    monkeypatch.setattr("api.jobs.tenant", lambda: TenantId("bob"))

    assert submit(api)[0] == 202


def test_equal_pictures_are_equal_however_they_came(api: Api) -> None:
    announce(api)
    file = api.client.post("/v1/files", data=png(), content_type="image/png").get_json()["id"]
    body = {"task": "embed", "input": {"images": [{"file": file}], "space": "image"}, "cache": True}
    assert api.client.post("/v1/jobs", json=body).status_code == 202
    first = work(api)
    body["input"] = {"images": [{"part": "photo"}], "space": "image"}

    response = api.client.post(
        "/v1/jobs", data={"request": json.dumps(body), "photo": (io.BytesIO(png()), "photo.png")}
    )

    assert (response.status_code, response.get_json()["cached_from"]) == (200, first)


def test_in_a_batch_some_are_answered_at_once(api: Api) -> None:
    announce(api)
    submit(api)
    first = work(api)
    new = {**TEXT, "input": {"texts": ["new"], "space": "text"}}

    found = api.client.post("/v1/jobs:batch", json=[new, TEXT, {}]).get_json()["jobs"]

    assert [one["status"] for one in found] == [202, 200, 422]
    assert found[1]["job"]["cached_from"] == first
    assert api.hints.sent[-1] == ("default", (found[0]["job"]["id"],))


def test_a_wait_for_a_job_that_is_answered_already_is_none(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    announce(api)
    submit(api)
    work(api)
    monkeypatch.setattr(type(api.services.watcher), "wait", fail)

    response = api.client.post("/v1/jobs", json=TEXT, headers={"Prefer": "wait=20"})

    assert (response.status_code, response.headers["Preference-Applied"]) == (200, "wait=20")


def test_the_workers_are_asked_once_for_many_submits(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.caching._FRESH_S", 60.0)
    announce(api)
    asked: list[int] = []
    workers = api.services.store.workers
    monkeypatch.setattr(
        type(api.services.store), "workers", lambda _, **terms: asked.append(1) or workers(**terms)
    )

    for _ in range(5):
        submit(api)

    assert len(asked) == 1


def test_without_the_wish_no_submit_looks_for_an_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(type(api.services.store), "workers", fail)
    monkeypatch.setattr(type(api.services.store), "find_cached", fail)

    assert submit(api, cache=False)[0] == 202


@pytest.mark.parametrize("wish", ["yes", 1, None])
def test_a_wish_that_is_neither_true_nor_false_is_refused(api: Api, wish: object) -> None:
    response = api.client.post("/v1/jobs", json={**TEXT, "cache": wish})

    refused(response, 422, "invalid_request", "/cache")
    assert api.written() == (0, 0, 0, 0)
