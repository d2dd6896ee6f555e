"""Many jobs in one request: one bad one hurts no other, and a wait for all takes one seat."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from werkzeug.test import TestResponse

from api import answers, limits
from shared.errors import BlobsUnavailable, StoreUnavailable
from shared.jobs import JobId, NewJob, Success, TenantId, new_job_id
from shared.settings import Limits
from tests.unit.api.conftest import WORKER, Api
from tests.unit.api.pictures import base64_png, png
from tests.unit.api.problems import refused

NOTHING = (0, 0, 0, 0)


def embed(text: str = "a text", **fields: Any) -> dict[str, Any]:
    return {"task": "embed", "input": {"texts": [text]}, **fields}


def match(*parts: str) -> dict[str, Any]:
    return {"task": "match", "input": {"images": [{"part": part} for part in parts], "texts": ["a"]}}


def submit(api: Api, body: Any) -> TestResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.client.post("/v1/jobs:batch", data=raw, content_type="application/json")


def submit_form(api: Api, body: Any, **parts: bytes) -> TestResponse:
    files = {name: (io.BytesIO(content), "photo.png") for name, content in parts.items()}
    return api.client.post("/v1/jobs:batch", data={"request": json.dumps(body), **files})


def outcomes(response: TestResponse) -> list[dict[str, Any]]:
    assert response.status_code == 207, response.get_data(as_text=True)
    answer = response.get_json()
    assert answers.JobBatchAnswer.model_validate(answer, strict=True)
    return list(answer["jobs"])


def submitted(api: Api, count: int) -> list[str]:
    return [one["job"]["id"] for one in outcomes(submit(api, [embed(str(i)) for i in range(count)]))]


# --- jobs:batch


def test_each_submit_of_a_batch_becomes_a_job_in_order(api: Api) -> None:
    found = outcomes(submit(api, [embed(labels={"n": str(i)}) for i in range(100)]))

    assert [one["status"] for one in found] == [202] * 100
    assert [one["job"]["labels"]["n"] for one in found] == [str(i) for i in range(100)]
    assert api.written() == (100, 0, 0, 1)


def test_a_batch_is_told_to_the_workers_once(api: Api) -> None:
    ids = submitted(api, 3)

    assert api.hints.sent == [("default", tuple(ids))]


def test_a_batch_is_one_transaction(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[int] = []
    create = api.services.store.create
    monkeypatch.setattr(
        type(api.services.store),
        "create",
        lambda _, new, *, files=(): stored.append(len(new)) or create(new, files=files),
    )
    submit(api, [embed(), {"task": "embed"}, embed()])

    assert stored == [2]


def test_a_bad_submit_hurts_no_other_and_is_pointed_at_in_the_array(api: Api) -> None:
    bad: list[Any] = [
        {"task": "translate", "input": {}},
        {"task": "embed", "input": {"texts": [" "]}},
        17,
        {"task": "classify", "input": {"image": {"file": "0" * 64}}},
        {"task": "classify", "input": {"image": {"data": base64_png()}, "head": "pets"}},
        {"task": "classify", "input": {"image": {"data": "aGVsbG8="}}},
        {"task": "embed", "input": {"texts": ["a"] * 300}},
        {"task": "embed", "input": {"texts": ["a\0"]}},
    ]

    found = outcomes(submit(api, [embed(), *bad, embed()]))

    assert [found[0]["status"], found[-1]["status"]] == [202, 202]
    faults = [
        (one["status"], one["problem"]["code"], one["problem"]["errors"][0]["pointer"]) for one in found[1:-1]
    ]
    assert faults == [
        (422, "unknown_task", "/1/task"),
        (422, "invalid_request", "/2/input/texts/0"),
        (422, "invalid_request", "/3"),
        (422, "file_not_found", "/4/input/image/file"),
        (422, "unknown_head", "/5/input/head"),
        (422, "image_not_recognized", "/6/input/image/data"),
        (422, "invalid_request", "/7/input/texts"),
        (400, "malformed_body", "/8/input/texts/0"),
    ]
    assert api.written() == (2, 0, 0, 1)


@pytest.mark.parametrize(
    ("flaw", "pointer"),
    [
        ('{"task": 1, "task": 2}', "/1"),
        ('{"a": NaN}', "/1/a"),
        ('{"a": ' * 33 + "1" + "}" * 33, "/1" + "/a" * 32),
    ],
)
def test_a_submit_that_is_no_sane_json_hurts_no_other(api: Api, flaw: str, pointer: str) -> None:
    found = outcomes(submit(api, f"[{json.dumps(embed())}, {flaw}]".encode()))

    assert [one["status"] for one in found] == [202, 400]
    assert found[1]["problem"]["errors"][0]["pointer"] == pointer


def test_a_batch_without_a_good_submit_writes_nothing(api: Api) -> None:
    found = outcomes(submit(api, [{}, 1]))

    assert [one["status"] for one in found] == [422, 422]
    assert api.written() == NOTHING


def test_the_listed_faults_of_one_submit_are_few(api: Api) -> None:
    [one] = outcomes(submit(api, [{"task": "embed", "input": {"texts": [" "] * 250}}]))

    assert len(one["problem"]["errors"]) == 10


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_body"),
        (b"[{]", 400, "malformed_body"),
        (b"[\xff]", 400, "malformed_body"),
        (b'{"a": NaN}', 400, "malformed_body"),
        ([], 422, "invalid_request"),
        ({"jobs": []}, 422, "invalid_request"),
        ("embed", 422, "invalid_request"),
        ([1] * (limits.LARGEST_BATCH + 1), 422, "invalid_request"),
        (b"[" + b"[]," * 2_000_000 + b"1]", 422, "invalid_request"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_whole(api: Api, body: Any, status: int, code: str) -> None:
    refused(submit(api, body), status, code)
    assert api.written() == NOTHING


def test_a_batch_may_be_as_large_as_promised(api: Api) -> None:
    assert len(outcomes(submit(api, [embed()] * limits.LARGEST_BATCH))) == 1_000


def test_another_media_type_is_refused(api: Api) -> None:
    for route in ("batch", "get"):
        response = api.client.post(f"/v1/jobs:{route}", data=b"[]", content_type="text/plain")
        refused(response, 415, "unsupported_media_type")


def test_a_batch_over_the_limit_of_a_body_is_refused(make_api: Callable[..., Api]) -> None:
    api = make_api(limits=Limits(body_bytes=1_000))

    refused(submit(api, [embed("a" * 100)] * 10), 413, "body_too_large")
    assert api.written() == NOTHING


# --- pictures in a batch


def test_submits_take_their_images_from_the_parts_of_one_form(api: Api) -> None:
    found = outcomes(submit_form(api, [match("a", "b"), match("b")], a=png(1, 1), b=png(2, 2)))

    assert [one["status"] for one in found] == [202, 202]
    inputs = [
        api.services.store.get(job.tenant, job.id).input["images"] for job in (api.claim(), api.claim())
    ]
    assert sorted(len(images) for images in inputs) == [1, 2]
    assert api.written() == (2, 2, 2, 1)


def test_a_part_that_no_submit_names_is_a_fault_of_the_whole_body(api: Api) -> None:
    refused(submit_form(api, [match("a"), embed()], a=png(), b=png()), 422, "invalid_request", "")
    assert api.written() == NOTHING


def test_a_part_that_only_a_bad_submit_names_is_no_stray(api: Api) -> None:
    bad = {**match("b"), "zz": 1}

    found = outcomes(submit_form(api, [match("a"), bad], a=png(1, 1), b=png(2, 2)))

    assert [one["status"] for one in found] == [202, 422]
    assert api.written() == (1, 1, 1, 1)


def test_a_bad_picture_hurts_only_the_submits_that_name_it(api: Api) -> None:
    found = outcomes(
        submit_form(api, [match("good"), match("bad"), match("gone"), match("bad")], good=png(), bad=b"no")
    )

    assert [one["status"] for one in found] == [202, 422, 422, 422]
    assert [one["problem"]["errors"][0]["pointer"] for one in found[1:]] == [
        "/1/input/images/0/part",
        "/2/input/images/0/part",
        "/3/input/images/0/part",
    ]
    assert api.written() == (1, 1, 1, 1)


@pytest.mark.parametrize(("broken", "code"), [("blobs", "blobs_unavailable"), ("store", "store_unavailable")])
def test_with_a_part_of_the_service_away_nothing_is_accepted(
    api: Api, monkeypatch: pytest.MonkeyPatch, broken: str, code: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlobsUnavailable("away") if broken == "blobs" else StoreUnavailable("away")

    target, name = (api.services.blobs, "put_many") if broken == "blobs" else (api.services.store, "create")
    monkeypatch.setattr(type(target), name, fail)

    refused(submit_form(api, [match("a")], a=png()), 503, code)
    assert (api.written()[0], api.written()[3]) == (0, 0)


# --- jobs:get


def get(api: Api, ids: list[str], **fields: Any) -> list[Any]:
    response = api.client.post("/v1/jobs:get", json={"ids": ids, **fields})
    assert response.status_code == 200, response.get_data(as_text=True)
    answer = response.get_json()
    assert answers.JobsAnswer.model_validate(answer, strict=True)
    assert int(response.headers["Content-Length"]) == len(response.get_data())
    return list(answer["jobs"])


def finish(api: Api, count: int, text: str = "") -> None:
    for claim in api.services.store.claim(WORKER, ["default"], count):
        api.services.store.succeed(claim, Success(result={"of": claim.id, "text": text}))


def test_jobs_come_in_the_order_asked_for_with_their_results(api: Api) -> None:
    ids = submitted(api, 3)
    finish(api, 3)
    order = [ids[2], ids[0], ids[1], ids[0]]

    found = get(api, order)

    assert [job["id"] for job in found] == order
    assert [job["result"]["of"] for job in found] == order


def test_unknown_and_foreign_jobs_are_null_in_their_place(api: Api) -> None:
    [mine] = submitted(api, 1)
    foreign = NewJob(id=new_job_id(), tenant=TenantId("other"), task="embed", input={"texts": ["a"]})
    api.services.store.create([foreign])

    found = get(api, ["job_" + "0" * 32, mine, foreign.id, "é", ""])

    assert [job and job["id"] for job in found] == [None, mine, None, None, None]


def test_a_get_waits_until_all_have_ended(api: Api) -> None:
    ids = submitted(api, 3)
    finish(api, 1)
    waits: list[int] = []
    sit = api.services.watcher._sit

    def counted(waiter: Any, *rest: Any) -> None:
        waits.append(len(waiter.awaited))
        sit(waiter, *rest)

    api.services.watcher._sit = counted  # type: ignore[method-assign]
    worker = threading.Thread(target=lambda: (finish(api, 1), finish(api, 1)))
    worker.start()

    found = get(api, ids, wait_s=30)

    worker.join()
    assert [job["status"] for job in found] == ["succeeded"] * 3
    # However many jobs: one seat, if any was needed by then.
    assert len(waits) <= 1


def test_a_get_answers_when_its_time_is_up(api: Api) -> None:
    ids = submitted(api, 2)
    finish(api, 1)

    assert sorted(job["status"] for job in get(api, ids, wait_s=0.05)) == ["queued", "succeeded"]


def test_results_in_the_blobs_are_streamed_into_their_jobs(api: Api) -> None:
    ids = submitted(api, 3)
    claims = api.services.store.claim(WORKER, ["default"], 2)
    large = {"words": ["é" * 100] * 1_000}
    for claim in claims:
        blob = api.services.blobs.put(json.dumps(large).encode())
        api.services.store.succeed(claim, Success(result=None, result_file=blob))

    found = {job["id"]: job["result"] for job in get(api, ids)}

    assert found == {JobId(ids[0]): large, ids[1]: large, ids[2]: None}


def test_with_the_blobs_away_a_get_is_a_problem(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = submitted(api, 1)
    claim = api.claim()
    blob = api.services.blobs.put(b'"large"')
    api.services.store.succeed(claim, Success(result=None, result_file=blob))

    def fail(*_: object) -> None:
        raise BlobsUnavailable("away")

    monkeypatch.setattr(type(api.services.blobs), "size", fail)

    refused(api.client.post("/v1/jobs:get", json={"ids": ids}), 503, "blobs_unavailable")


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, ""),
        (b'{"ids": [NaN]}', 400, "/ids/0"),
        (b'{"ids": ["\\u0000"]}', 400, "/ids/0"),
        (b"[]", 422, ""),
        (b"{}", 422, "/ids"),
        (b'{"ids": []}', 422, "/ids"),
        (b'{"ids": "job_1"}', 422, "/ids"),
        (b'{"ids": ["a", 3]}', 422, "/ids/1"),
        (json.dumps({"ids": ["a" * 101]}).encode(), 422, "/ids/0"),
        (json.dumps({"ids": ["a"] * 1_001}).encode(), 422, "/ids"),
        (b'{"ids": ["a"], "wait_s": -1}', 422, "/wait_s"),
        (b'{"ids": ["a"], "wait_s": 61}', 422, "/wait_s"),
        (b'{"ids": ["a"], "wait_s": "5"}', 422, "/wait_s"),
        (b'{"ids": ["a"], "wait": 5}', 422, "/wait"),
    ],
)
def test_a_get_that_makes_no_sense_is_refused(api: Api, body: bytes, status: int, pointer: str) -> None:
    response = api.client.post("/v1/jobs:get", data=body, content_type="application/json")

    refused(response, status, "malformed_body" if status == 400 else "invalid_request", pointer)


def test_a_get_may_ask_for_as_many_as_promised(api: Api) -> None:
    assert get(api, ["job_1"] * limits.LARGEST_BATCH) == [None] * 1_000


# --- beside the other routes


@pytest.mark.parametrize("path", ["/v1/jobs:batch", "/v1/jobs:get"])
def test_the_routes_of_many_take_only_posts(api: Api, path: str) -> None:
    refused(api.client.get(path), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path", ["/v1/jobs:other", "/v1/jobs/:batch", "/v1/jobs:batch/", "/v1/jobs/jobs:batch"]
)
def test_a_path_that_only_looks_like_them_is_not_found(api: Api, path: str) -> None:
    refused(api.client.post(path, json=[embed()]), 404, "not_found")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10) | st.just("embed"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["task", "input", "texts", "part", "ids", "wait_s"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_VALUES, route=st.sampled_from(["batch", "get"]))
def test_no_json_body_makes_the_service_fail(api: Api, body: Any, route: str) -> None:
    response = api.client.post(f"/v1/jobs:{route}", data=json.dumps(body), content_type="application/json")

    assert response.status_code in {200, 207, 400, 422}, response.get_data(as_text=True)


def test_an_outcome_is_a_job_or_a_problem_never_both() -> None:
    with pytest.raises(ValidationError):
        answers.JobBatchAnswer.model_validate({"jobs": [{"status": 202}]})


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("Thread-")]
