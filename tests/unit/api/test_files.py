from __future__ import annotations

import hashlib
import io

import pytest

from api import answers
from shared.jobs import FileId
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import png
from tests.unit.api.problems import refused


def upload(api: Api, content: bytes) -> str:
    return str(api.client.post("/v1/files", data=content, content_type="image/png").get_json()["id"])


def test_an_upload_is_named_by_the_hash_of_its_bytes(api: Api) -> None:
    response = api.client.post("/v1/files", data=png(5, 4), content_type="image/png")

    file = response.get_json()
    assert answers.StoredFile.model_validate(file, strict=True)
    assert response.status_code == 201
    assert file["id"] == hashlib.sha256(png(5, 4)).hexdigest()
    assert response.headers["Location"] == file["links"]["self"]
    assert (file["media_type"], file["bytes"], file["width"], file["height"]) == (
        "image/png",
        len(png(5, 4)),
        5,
        4,
    )
    assert api.written() == (0, 1, 1, 0)


def test_known_bytes_are_answered_200_and_stored_once(api: Api) -> None:
    first = api.client.post("/v1/files", data=png(), content_type="image/png")
    second = api.client.post("/v1/files", data={"file": (io.BytesIO(png()), "other-name.jpg")})

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.get_json() == second.get_json()
    assert api.written() == (0, 1, 1, 0)


@pytest.mark.parametrize("content_type", ["application/octet-stream", "image/jpeg", None])
def test_the_bytes_decide_what_a_file_is_not_the_caller(api: Api, content_type: str | None) -> None:
    response = api.client.post("/v1/files", data=png(), content_type=content_type)

    assert response.get_json()["media_type"] == "image/png"


def test_a_file_is_described(api: Api) -> None:
    created = api.client.post("/v1/files", data=png(), content_type="image/png").get_json()

    assert api.client.get(created["links"]["self"]).get_json() == created


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"hello", "image/png", 422, "image_not_recognized"),
        (b"", "image/png", 422, "image_not_recognized"),
        (b"%PDF-1.7", "application/octet-stream", 422, "image_format_forbidden"),
        (png(30_000, 30_000), "image/png", 422, "image_too_large"),
        (png(), "text/html", 415, "unsupported_media_type"),
        (png(), "application/json", 415, "unsupported_media_type"),
    ],
)
def test_what_is_no_image_is_refused_and_leaves_nothing_behind(
    api: Api, content: bytes, content_type: str, status: int, code: str
) -> None:
    refused(api.client.post("/v1/files", data=content, content_type=content_type), status, code)
    assert api.written() == (0, 0, 0, 0)


def test_a_form_must_hold_one_file(api: Api) -> None:
    two = {"a": (io.BytesIO(png()), "a.png"), "b": (io.BytesIO(png()), "b.png")}

    refused(api.client.post("/v1/files", data=two), 400, "malformed_body", "")
    refused(
        api.client.post("/v1/files", data={"a": "text"}, content_type="multipart/form-data"),
        400,
        "malformed_body",
    )
    assert api.written() == (0, 0, 0, 0)


def test_the_content_comes_back_as_it_was_and_cannot_run_in_a_browser(api: Api) -> None:
    file = upload(api, png())

    response = api.client.get(f"/v1/files/{file}/content")

    assert response.get_data() == png()
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["ETag"] == f'"{file}"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"] == f'inline; filename="{file[:16]}.png"'
    assert "sandbox" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("asked", "got"),
    [("bytes=0-3", slice(0, 4)), ("bytes=10-", slice(10, None)), ("bytes=-5", slice(-5, None))],
)
def test_a_range_of_the_content_is_served(api: Api, asked: str, got: slice) -> None:
    file = upload(api, png())

    response = api.client.get(f"/v1/files/{file}/content", headers={"Range": asked})

    assert response.status_code == 206
    assert response.get_data() == png()[got]


def test_a_range_past_the_end_is_refused(api: Api) -> None:
    file = upload(api, png())

    response = api.client.get(f"/v1/files/{file}/content", headers={"Range": "bytes=100000-"})

    refused(response, 416, "range_not_satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{len(png())}"


def test_a_known_content_is_not_sent_again(api: Api) -> None:
    file = upload(api, png())

    response = api.client.get(f"/v1/files/{file}/content", headers={"If-None-Match": f'"{file}"'})

    assert (response.status_code, response.get_data()) == (304, b"")


def test_a_head_request_tells_the_size_without_the_bytes(api: Api) -> None:
    response = api.client.head(f"/v1/files/{upload(api, png())}/content")

    assert (response.content_length, response.get_data()) == (len(png()), b"")


@pytest.mark.parametrize("file", ["0" * 64, "abc", "..%2f..%2fetc%2fpasswd", "%00"])
@pytest.mark.parametrize("tail", ["", "/content"])
def test_an_unknown_file_is_not_found(api: Api, file: str, tail: str) -> None:
    refused(api.client.get(f"/v1/files/{file}{tail}"), 404, "not_found")


def test_a_blob_that_the_tenant_does_not_own_is_not_found(api: Api) -> None:
    file: FileId = api.services.blobs.put(png())

    refused(api.client.get(f"/v1/files/{file}/content"), 404, "not_found")
    refused(
        api.client.post("/v1/jobs", json={"task": "classify", "input": {"image": {"file": file}}}),
        422, "file_not_found", "/input/image/file",
    )  # fmt: skip
