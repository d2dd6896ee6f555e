"""Pictures and films by URL at the door: refused by their words, stored by their names, never fetched."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.caching import result_key
from shared.jobs import LOCAL, JobId, Success
from tests.unit.api.conftest import WORKER, Api
from tests.unit.api.pictures import base64_png, png
from tests.unit.api.problems import refused

URL = "https://photos.example/a.png?key=s3cret"
NOTHING = (0, 0, 0, 0)

MakeApi = Callable[..., Api]


@pytest.fixture(autouse=True)
def _nobody_is_called(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail whatever asks for a name's address, or connects."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the API has called somebody")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(socket, "create_connection", refuse)
        yield


@pytest.fixture
def fetching(make_api: MakeApi) -> Api:
    return make_api(url_inputs=True)


def match(*urls: str, **more: Any) -> dict[str, Any]:
    return {"task": "match", "input": {"images": [{"url": url} for url in urls], "texts": ["a cat"]}, **more}


def video(url: str) -> dict[str, Any]:
    return {"task": "video", "input": {"video": {"url": url}}}


def submit(api: Api, body: dict[str, Any], **headers: str) -> Any:
    return api.client.post("/v1/jobs", json=body, headers=headers)


@pytest.mark.parametrize(
    ("body", "pointer"), [(match(URL), "/input/images/0/url"), (video(URL), "/input/video/url")]
)
def test_urls_are_off_until_the_operator_turns_them_on(api: Api, body: dict[str, Any], pointer: str) -> None:
    problem = refused(submit(api, body), 422, "url_refused", pointer)

    assert "/v1/files" in problem["detail"]
    assert problem["errors"][0]["code"] == "url_refused"
    assert api.written() == NOTHING


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://2130706433/a.png",
        "http://[::1]/a.png",
        "http://[::ffff:10.0.0.1]/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/a.png",
        "http://photos.example:22/a.png",
        "http://you:word@photos.example/a.png",
        "http://photos.example\\@127.0.0.1/a.png",
        "ftp://photos.example/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "photos/a.png",
    ],
)
@pytest.mark.parametrize("kind", ["picture", "film"])
def test_a_url_whose_words_lead_nowhere_good_is_refused_at_its_place(
    fetching: Api, url: str, kind: str
) -> None:
    body, pointer = (
        (match(URL, url), "/input/images/1/url") if kind == "picture" else (video(url), "/input/video/url")
    )

    refused(submit(fetching, body), 422, "url_refused", pointer)

    assert fetching.written() == NOTHING


def test_no_refusal_repeats_what_a_url_asks_for(fetching: Api) -> None:
    response = submit(fetching, match("http://10.0.0.1/private/a.png?key=s3cret"))

    refused(response, 422, "url_refused")
    assert "s3cret" not in response.get_data(as_text=True)
    assert "private" not in response.get_data(as_text=True)


def test_only_the_ports_that_the_operator_allows_are_taken(make_api: MakeApi) -> None:
    api = make_api(url_inputs=True, url_ports=(9000,))

    assert submit(api, match("http://photos.example:9000/a.png")).status_code == 202
    refused(submit(api, match("http://photos.example/a.png")), 422, "url_refused")


def test_addresses_inside_are_taken_where_the_operator_says_so(make_api: MakeApi) -> None:
    api = make_api(url_inputs=True, url_private=True)

    assert submit(api, match("http://127.0.0.1:9999/a.png")).status_code == 202


def test_a_worker_finds_each_url_where_it_stood(fetching: Api) -> None:
    body = match(URL, "http://other.example/b.png")
    body["input"]["images"].append({"data": base64_png()})

    response = submit(fetching, body)

    assert response.status_code == 202
    first, second, third = fetching.claim().input["images"]
    assert (first, second) == ({"url": URL}, {"url": "http://other.example/b.png"})
    assert list(third) == ["file"]


def test_a_form_may_name_urls_beside_its_parts(fetching: Api) -> None:
    body = match(URL)
    body["input"]["images"].append({"part": "photo"})
    form = {"request": json.dumps(body), "photo": (io.BytesIO(png()), "a.png")}

    assert fetching.client.post("/v1/jobs", data=form).status_code == 202


def test_no_answer_shows_the_url(fetching: Api) -> None:
    response = submit(fetching, match(URL))
    job = fetching.client.get(response.get_json()["links"]["self"])

    assert b"s3cret" not in response.data
    assert b"s3cret" not in job.data


def test_the_same_key_with_another_url_is_another_submit(fetching: Api) -> None:
    key = {"Idempotency-Key": "once"}
    first = submit(fetching, match(URL), **key)

    again = submit(fetching, match(URL), **key)
    refused(submit(fetching, match(f"{URL}&v=2"), **key), 422, "idempotency_key_reused")

    assert (again.status_code, again.get_json()["id"]) == (200, first.get_json()["id"])


def test_a_batch_says_which_url_it_refuses(fetching: Api) -> None:
    bodies = [match(URL), match("http://127.0.0.1/")]

    outcomes = fetching.client.post("/v1/jobs:batch", json=bodies).get_json()["jobs"]

    assert [outcome["status"] for outcome in outcomes] == [202, 422]
    assert outcomes[1]["problem"]["code"] == "url_refused"
    assert outcomes[1]["problem"]["errors"][0]["pointer"] == "/1/input/images/0/url"


def test_no_earlier_result_answers_for_a_url_whose_content_may_have_changed(
    fetching: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.caching._FRESH_S", 0.0)
    fetching.services.store.announce(WORKER, {"pools": ["default"], "models": {}})
    first = JobId(submit(fetching, match(URL, cache=True)).get_json()["id"])
    claim = fetching.claim()
    key = result_key(claim.task, claim.input, {}, [])
    fetching.services.store.succeed(claim, Success(result={"made": "once"}, cache_key=key))

    again = submit(fetching, match(URL, cache=True))

    assert not claim.cache, "its worker lets no other job have the result"
    assert (again.status_code, again.get_json()["cached_from"]) == (202, None)
    assert fetching.services.store.get(LOCAL, first).result == {"made": "once"}


def test_the_catalogue_says_what_a_url_may_be(api: Api) -> None:
    [task] = [one for one in api.client.get("/v1/tasks").get_json()["tasks"] if one["name"] == "video"]
    document = api.client.get("/openapi.json").get_json()

    described = document["components"]["schemas"]["video.VideoRef"]["properties"]["url"]["description"]
    assert "off unless the operator allows it" in described
    assert task["input_schema"]["$defs"]["VideoRef"]["properties"]["url"]["description"] == described
