"""A submit that comes again with its key is answered with the job it made."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from api import answers
from api.idempotency import fingerprint
from shared.jobs import Success
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import base64_png, png
from tests.unit.api.problems import refused

EMBED: dict[str, Any] = {"task": "embed", "input": {"texts": ["a cat"]}}


def sent(
    api: Api, body: Any = EMBED, key: str = "k1", path: str = "/v1/jobs", **headers: str
) -> TestResponse:
    return api.client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def test_the_same_submit_is_answered_with_the_same_job(api: Api) -> None:
    first, second = sent(api), sent(api)

    assert (first.status_code, second.status_code) == (202, 200)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Location"] == first.headers["Location"]
    assert int(second.headers["Retry-After"]) > 0
    assert second.get_json() == first.get_json()
    assert api.written()[0] == 1


def test_a_replay_tells_how_the_job_stands_and_waits_for_it_if_asked(api: Api) -> None:
    sent(api)
    api.services.store.succeed(api.claim(), Success(result={"dim": 1}))

    again = sent(api, Prefer="wait=5")
    assert (again.status_code, again.get_json()["result"]) == (200, {"dim": 1})
    assert "Retry-After" not in again.headers


@pytest.mark.parametrize(
    "other",
    [
        {"input": {"texts": ["a dog"]}},
        {"task": "match", "input": {"texts": ["a"], "images": [{"data": base64_png()}]}},
        {"priority": "high"},
        {"labels": {"run": "7"}},
        {"retain_s": 60},
        {"cache": True},
    ],
    ids=["input", "task", "priority", "labels", "retain_s", "cache"],
)
def test_another_submit_with_the_key_is_refused_and_stores_nothing(api: Api, other: dict[str, Any]) -> None:
    sent(api)
    refused(sent(api, {**EMBED, **other}), 422, "idempotency_key_reused", "/Idempotency-Key")

    assert (api.written()[0], api.written()[1], api.written()[3]) == (1, 0, 1)
    assert sent(api).status_code == 200


def test_how_a_submit_is_written_makes_no_difference(api: Api) -> None:
    picture = {"task": "classify", "input": {"image": {"data": base64_png()}, "labels": ["a", "b"]}}
    first = sent(api, {**picture, "priority": "normal"})
    turned = {"input": {"labels": ["a", "b"], "image": {"part": "photo"}}, "task": "classify"}
    form = {"request": json.dumps(turned, indent=4), "photo": (io.BytesIO(png()), "photo.png")}

    second = api.client.post("/v1/jobs", data=form, headers={"Idempotency-Key": "k1"})

    assert first.status_code == 202
    assert (second.status_code, second.get_json()["id"]) == (200, first.get_json()["id"])


def test_a_refused_submit_leaves_its_key_free(api: Api) -> None:
    refused(sent(api, {"task": "embed", "input": {}}), 422, "invalid_request")
    assert sent(api).status_code == 202


def test_without_a_key_every_submit_is_a_job_of_its_own(api: Api) -> None:
    ids = {api.client.post("/v1/jobs", json=EMBED).get_json()["id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "ключ", "a\tb", "\u00e9"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch"])
def test_a_key_that_is_none_is_refused_by_name(api: Api, key: str, path: str) -> None:
    body = EMBED if path == "/v1/jobs" else [EMBED]
    problem = refused(
        api.client.post(path, json=body, headers={"Idempotency-Key": key.encode().decode("latin-1")}),
        422,
        "invalid_request",
        "/Idempotency-Key",
    )
    assert "1 to 255 printable ASCII" in problem["detail"]
    assert api.written() == (0, 0, 0, 0)


@pytest.mark.parametrize("key", ["x" * 255, 'a key, with ~ "everything" printable!', "0"])
def test_any_printable_key_will_do(api: Api, key: str) -> None:
    assert [sent(api, key=key).status_code for _ in range(2)] == [202, 200]


def test_a_batch_that_comes_again_is_answered_with_the_same_jobs(api: Api) -> None:
    batch = [EMBED, {"task": "embed", "input": {}}, EMBED]
    first, second = (sent(api, batch, path="/v1/jobs:batch") for _ in range(2))

    assert (first.status_code, second.status_code) == (207, 207)
    statuses = [[entry["status"] for entry in answer.get_json()["jobs"]] for answer in (first, second)]
    assert statuses == [[202, 422, 202], [200, 422, 200]]
    ids = [[entry["job"]["id"] for entry in answer.get_json()["jobs"][::2]] for answer in (first, second)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
    assert answers.JobBatchAnswer.model_validate(second.get_json(), strict=True)
    assert api.written()[0] == 2


def test_another_batch_with_the_key_is_refused_as_a_whole(api: Api) -> None:
    sent(api, [EMBED], path="/v1/jobs:batch")
    other = [{**EMBED, "priority": "low"}, EMBED]

    refused(sent(api, other, path="/v1/jobs:batch"), 422, "idempotency_key_reused", "/Idempotency-Key")
    assert api.written()[0] == 1


def test_keys_of_batches_and_of_submits_do_not_meet(api: Api) -> None:
    sent(api, [EMBED], path="/v1/jobs:batch")
    assert sent(api).status_code == 202


def test_what_a_newer_release_would_add_by_default_changes_no_fingerprint(api: Api) -> None:
    spelled_out = {**EMBED, "priority": "normal", "cache": False, "labels": {}}
    assert [sent(api, body).status_code for body in (EMBED, spelled_out)] == [202, 200]


def test_a_fingerprint_is_of_what_is_said_in_whatever_order() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
    assert len(fingerprint({})) == 64


def test_the_document_names_the_header(api: Api) -> None:
    paths = api.client.get("/openapi.json").get_json()["paths"]
    for path in ("/v1/jobs", "/v1/jobs:batch"):
        names = [parameter["name"] for parameter in paths[path]["post"]["parameters"]]
        assert "Idempotency-Key" in names
