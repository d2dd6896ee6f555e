"""Films at the door: what is one, how it is stored, where it may stand."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

import pytest

from shared.settings import Limits
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import mp4, png
from tests.unit.api.problems import refused


def video(ref: dict[str, Any]) -> dict[str, Any]:
    return {"task": "video", "input": {"video": ref}}


def upload(api: Api, content: bytes, content_type: str = "video/mp4") -> Any:
    return api.client.post("/v1/files", data=content, content_type=content_type)


def test_a_film_is_stored_by_its_hash(api: Api) -> None:
    response = upload(api, mp4(3_000_000), "application/octet-stream")

    file = response.get_json()
    assert response.status_code == 201
    assert file["id"] == hashlib.sha256(mp4(3_000_000)).hexdigest()
    assert (file["media_type"], file["bytes"], file["width"]) == ("video/mp4", 3_000_000, None)
    assert upload(api, mp4(3_000_000)).status_code == 200


def test_a_film_may_be_larger_than_a_body(make_api: Any) -> None:
    api: Api = make_api(limits=Limits(body_bytes=100_000, video_bytes=300_000))

    assert upload(api, mp4(300_000)).status_code == 201
    refused(upload(api, mp4(300_001)), 413, "body_too_large", "")


def test_a_form_keeps_to_the_limit_of_bodies(make_api: Any) -> None:
    """It is read whole: a film in it would be held in memory."""
    api: Api = make_api(limits=Limits(body_bytes=100_000, video_bytes=300_000))

    response = api.client.post("/v1/files", data={"file": (io.BytesIO(mp4(200_000)), "a.mp4")})

    refused(response, 413, "body_too_large", "")


def test_a_film_that_ends_early_is_not_stored(api: Api) -> None:
    response = api.client.post(
        "/v1/files",
        input_stream=io.BytesIO(mp4(2_000_000)),
        content_type="video/mp4",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "2000001"},
    )

    refused(response, 400, "malformed_body", "")
    assert api.written() == (0, 0, 0, 0)


def test_what_is_sent_as_a_film_is_measured_as_one(api: Api) -> None:
    refused(upload(api, b"#EXTM3U\n"), 422, "video_format_forbidden")
    refused(upload(api, b"hello"), 422, "video_not_recognized")
    assert api.written() == (0, 0, 0, 0)


@pytest.mark.parametrize("way", ["file", "data", "part"])
def test_a_job_takes_a_film_in_each_way(api: Api, way: str) -> None:
    if way == "file":
        response = api.client.post("/v1/jobs", json=video({"file": upload(api, mp4()).get_json()["id"]}))
    elif way == "data":
        response = api.client.post("/v1/jobs", json=video({"data": base64.b64encode(mp4()).decode()}))
    else:
        response = api.client.post(
            "/v1/jobs",
            data={"request": json.dumps(video({"part": "film"})), "film": (io.BytesIO(mp4()), "a.mp4")},
        )

    assert response.status_code == 202
    assert api.claim().input["video"] == {"file": hashlib.sha256(mp4()).hexdigest()}


def test_an_image_is_no_film_and_a_film_no_image(api: Api) -> None:
    film = upload(api, mp4()).get_json()["id"]
    image = api.client.post("/v1/files", data=png(), content_type="image/png").get_json()["id"]

    for body in (video({"file": image}), {"task": "caption", "input": {"image": {"file": film}}}):
        refused(api.client.post("/v1/jobs", json=body), 422, "invalid_request")
    refused(
        api.client.post("/v1/jobs", json=video({"data": base64.b64encode(png()).decode()})),
        422,
        "video_format_forbidden",
        "/input/video/data",
    )


def test_one_part_may_not_be_both(api: Api) -> None:
    """What was looked up as an image is looked at again where a film is wanted."""
    body = {"task": "stylize", "input": {"image": {"part": "a"}, "style": {"image": {"part": "a"}}}}
    both = [body, video({"part": "a"})]

    answer = api.client.post(
        "/v1/jobs:batch", data={"request": json.dumps(both), "a": (io.BytesIO(png()), "a.png")}
    ).get_json()

    assert [one["status"] for one in answer["jobs"]] == [202, 422]
