"""Bad input: each kind gets its status, its code and a pointer, and leaves nothing behind."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.jobs import LOCAL
from shared.settings import Limits
from tests.unit.api.conftest import Api
from tests.unit.api.pictures import base64_png, png
from tests.unit.api.problems import refused

IMAGE = {"data": base64_png()}
NOTHING = (0, 0, 0, 0)


def b64(content: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode()}


def classify(**fields: Any) -> dict[str, Any]:
    return {"task": "classify", "input": {"image": IMAGE, **fields}}


def match(images: Any = (IMAGE,), texts: Any = ("a",)) -> dict[str, Any]:
    return {"task": "match", "input": {"images": images, "texts": texts}}


@dataclass(frozen=True)
class Bad:
    name: str
    body: Any
    status: int
    code: str
    pointer: str | None


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)

MATRIX = [
    Bad("not JSON", b"{", 400, "malformed_body", ""),
    Bad("empty", b"", 400, "malformed_body", ""),
    Bad("not UTF-8", b'{"task": "\xff"}', 400, "malformed_body", ""),
    Bad("UTF-16", '{"task": "embed"}'.encode("utf-16"), 400, "malformed_body", ""),
    Bad("two documents", b"{} {}", 400, "malformed_body", ""),
    Bad("NaN", b'{"task": "classify", "input": {"top_k": NaN}}', 400, "malformed_body", "/input/top_k"),
    Bad("infinity", b'{"a": [1, -Infinity]}', 400, "malformed_body", "/a/1"),
    Bad("a number past a double", b'{"a": 1e999}', 400, "malformed_body", "/a"),
    Bad("a huge integer", b'{"a": ' + b"9" * 5_000 + b"}", 400, "malformed_body", "/a"),
    Bad("an integer past 64 bits", b'{"a": 9223372036854775808}', 400, "malformed_body", "/a"),
    Bad("a name twice", b'{"input": {"a": 1, "a": 2}}', 400, "malformed_body", "/input"),
    Bad("too deep", b'{"a": ' * 33 + b"1" + b"}" * 33, 400, "malformed_body", "/a" * 32),
    Bad("far too deep", b"[" * 100_000, 400, "malformed_body", ""),
    Bad("a lone surrogate", rb'{"task": "\ud800"}', 400, "malformed_body", "/task"),
    Bad("a NUL", classify(text="a\0b"), 400, "malformed_body", "/input/text"),
    Bad("a NUL in a name", {"labels": {"\0": "x"}}, 400, "malformed_body", "/labels"),
    Bad("a name without end", {"a" * 1_000_000: 1}, 400, "malformed_body", ""),
    Bad("no object", [1], 422, "invalid_request", ""),
    Bad("no task", {"input": {}}, 422, "invalid_request", "/task"),
    Bad("task is no text", {"task": 3, "input": {}}, 422, "invalid_request", "/task"),
    Bad("unknown task", {"task": "translate", "input": {}}, 422, "unknown_task", "/task"),
    Bad("no input", {"task": "classify"}, 422, "invalid_request", "/input"),
    Bad("unknown field", {**classify(), "callback": {}}, 422, "invalid_request", "/callback"),
    Bad("unknown field of the input", classify(colour="red"), 422, "invalid_request", "/input/colour"),
    Bad("a name to escape", classify(**{"a/b~c": 1}), 422, "invalid_request", "/input/a~1b~0c"),
    Bad("missing image", {"task": "classify", "input": {}}, 422, "invalid_request", "/input/image"),
    Bad("both labels and head", classify(labels=["a"], head="h"), 422, "invalid_request", "/input"),
    Bad("a head that does not exist", classify(head="pets"), 422, "unknown_head", "/input/head"),
    Bad("a number as text", classify(top_k="5"), 422, "invalid_request", "/input/top_k"),
    Bad("no images", match(images=[]), 422, "invalid_request", "/input/images"),
    Bad("no texts", match(texts=[]), 422, "invalid_request", "/input/texts"),
    Bad("no labels", classify(labels=[]), 422, "invalid_request", "/input/labels"),
    Bad("nothing to embed", {"task": "embed", "input": {}}, 422, "invalid_request", "/input"),
    Bad(
        "10,000 images", match(images=[{"file": "0" * 64}] * 10_000), 422, "invalid_request", "/input/images"
    ),
    Bad("10,000 texts", match(texts=["a"] * 10_000), 422, "invalid_request", "/input/texts"),
    Bad("10,000 labels", classify(labels=["a"] * 10_000), 422, "invalid_request", "/input/labels"),
    Bad("a million values", b'{"a": [' + b"[]," * 2_000_000 + b"1]}", 422, "invalid_request", ""),
    Bad("65 images", match(images=[IMAGE] * 65), 422, "invalid_request", "/input"),
    Bad("a blank text", match(texts=["ok", " "]), 422, "invalid_request", "/input/texts/1"),
    Bad("a text over the limit", match(texts=["a", "b" * 4_097]), 422, "invalid_request", "/input/texts/1"),
    Bad(
        "two ways to name one image",
        match([{**IMAGE, "url": "u"}]),
        422,
        "invalid_request",
        "/input/images/0",
    ),
    Bad("no way to name an image", match([{}]), 422, "invalid_request", "/input/images/0"),
    Bad(
        "an image that is no image",
        match([IMAGE, b64(b"hello")]),
        422,
        "image_not_recognized",
        "/input/images/1/data",
    ),
    Bad(
        "an empty PNG",
        match([b64(b"\x89PNG\r\n\x1a\n")]),
        422,
        "image_not_recognized",
        "/input/images/0/data",
    ),
    Bad(
        "an archive",
        match([b64(b"PK\x03\x04" + bytes(64))]),
        422,
        "image_not_recognized",
        "/input/images/0/data",
    ),
    Bad("an SVG", match([b64(SVG)]), 422, "image_format_forbidden", "/input/images/0/data"),
    Bad("a HEIC", match([b64(HEIC)]), 422, "image_format_forbidden", "/input/images/0/data"),
    Bad("a PDF", match([b64(b"%PDF-1.7\n")]), 422, "image_format_forbidden", "/input/images/0/data"),
    Bad(
        "30,000x30,000",
        match([IMAGE, b64(png(30_000, 30_000))]),
        422,
        "image_too_large",
        "/input/images/1/data",
    ),
    Bad("too many pixels", match([b64(png(8_000, 8_000))]), 422, "image_too_large", "/input/images/0/data"),
    Bad("too long a side", match([b64(png(20_000, 1))]), 422, "image_too_large", "/input/images/0/data"),
    Bad(
        "not base64", match([IMAGE, IMAGE, {"data": "a=b?"}]), 422, "invalid_request", "/input/images/2/data"
    ),
    Bad(
        "base64 cut short",
        match([{"data": base64_png()[:-1]}]),
        422,
        "invalid_request",
        "/input/images/0/data",
    ),
    Bad("base64 with an accent", match([{"data": "é" * 4}]), 422, "invalid_request", "/input/images/0/data"),
    Bad(
        "a data URL",
        match([{"data": "data:image/png;base64,AA=="}]),
        422,
        "invalid_request",
        "/input/images/0/data",
    ),
    Bad("a missing file", match([{"file": "0" * 64}]), 422, "file_not_found", "/input/images/0/file"),
    Bad(
        "a file id that is none",
        match([{"file": "../../etc"}]),
        422,
        "invalid_request",
        "/input/images/0/file",
    ),
    Bad("a URL", match([{"url": "https://example.org/a.png"}]), 422, "url_refused", "/input/images/0/url"),
    Bad(
        "a part without multipart", match([{"part": "photo"}]), 422, "invalid_request", "/input/images/0/part"
    ),
    Bad("unknown priority", {**classify(), "priority": "urgent"}, 422, "invalid_request", "/priority"),
    Bad("no time at all", {**classify(), "timeout_s": 0}, 422, "invalid_request", "/timeout_s"),
    Bad(
        "a label that is no name",
        {**classify(), "labels": {"a b": "c"}},
        422,
        "invalid_request",
        "/labels/a b",
    ),
    Bad("a label that is no text", {**classify(), "labels": {"a": 1}}, 422, "invalid_request", "/labels/a"),
]


@pytest.mark.parametrize("bad", MATRIX, ids=lambda bad: bad.name)
def test_bad_input_is_refused_at_its_place_and_leaves_nothing_behind(api: Api, bad: Bad) -> None:
    raw = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    began = time.monotonic()

    response = api.client.post("/v1/jobs", data=raw, content_type="application/json")

    refused(response, bad.status, bad.code, bad.pointer)
    assert api.written() == NOTHING
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [b"3.0", b"30e-1", b"0.3E1"])
def test_a_whole_number_is_an_integer_however_it_is_written(api: Api, number: bytes) -> None:
    body = json.dumps(classify(top_k=0)).encode().replace(b'"top_k": 0', b'"top_k": ' + number)

    response = api.client.post("/v1/jobs", data=body, content_type="application/json")

    assert response.status_code == 202, response.get_data(as_text=True)


def test_every_fault_is_named_at_once(api: Api) -> None:
    images = [
        IMAGE,
        b64(b"hello"),
        b64(png(30_000, 30_000)),
        {"file": "0" * 64},
        {"url": "https://example.org"},
    ]

    problem = refused(api.client.post("/v1/jobs", json=match(images)), 422, "invalid_request")

    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [
        ("/input/images/1/data", "image_not_recognized"),
        ("/input/images/2/data", "image_too_large"),
        ("/input/images/3/file", "file_not_found"),
        ("/input/images/4/url", "url_refused"),
    ]
    assert api.written() == NOTHING


def test_an_unknown_task_does_not_hide_the_other_faults(api: Api) -> None:
    problem = refused(
        api.client.post("/v1/jobs", json={"task": "x", "input": {}, "zz": 1}), 422, "invalid_request"
    )

    assert {(error["pointer"], error["code"]) for error in problem["errors"]} == {
        ("/task", "unknown_task"),
        ("/zz", "invalid_request"),
    }


def test_the_listed_faults_are_capped(api: Api) -> None:
    problem = refused(api.client.post("/v1/jobs", json=match(texts=[" "] * 250)), 422, "invalid_request")

    assert len(problem["errors"]) == 100


def test_a_file_of_another_kind_is_no_image(api: Api) -> None:
    file = api.services.blobs.put(b"video")
    api.services.store.add_file(LOCAL, file, media_type="video/mp4", size=5, width=None, height=None)

    response = api.client.post("/v1/jobs", json=match([{"file": file}]))

    refused(response, 422, "invalid_request", "/input/images/0/file")


# --- limits


def test_a_body_over_the_limit_is_refused_unread(make_api: Callable[..., Api]) -> None:
    api = make_api(limits=Limits(body_bytes=1_000))
    body = io.BytesIO(b"{}")

    response = api.client.post(
        "/v1/jobs",
        input_stream=body,
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": "1000000000"},
    )

    problem = refused(response, 413, "body_too_large", "")
    assert "the limit of" in problem["detail"]
    assert body.tell() == 0
    assert api.written() == NOTHING


def test_a_body_of_unknown_length_is_read_up_to_the_limit_only(make_api: Callable[..., Api]) -> None:
    api = make_api(limits=Limits(body_bytes=1_000))
    body = io.BytesIO(b" " * 1_000_000)

    response = api.client.post(
        "/v1/jobs",
        input_stream=body,
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )

    refused(response, 413, "body_too_large", "")
    assert body.tell() < 100_000


def test_a_body_that_ends_early_is_refused(api: Api) -> None:
    response = api.client.post(
        "/v1/files",
        input_stream=io.BytesIO(png()),
        content_type="image/png",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "100000"},
    )

    refused(response, 400, "malformed_body", "")
    assert api.written() == NOTHING


@pytest.mark.parametrize("way", ["data", "part", "upload"])
def test_a_file_over_the_limit_is_refused(make_api: Callable[..., Api], way: str) -> None:
    api = make_api(limits=Limits(file_bytes=50))

    if way == "data":
        response = api.client.post("/v1/jobs", json=match())
        pointer = "/input/images/0/data"
    elif way == "part":
        request = json.dumps(match([{"part": "p"}]))
        response = api.client.post("/v1/jobs", data={"request": request, "p": (io.BytesIO(png()), "p.png")})
        pointer = "/input/images/0/part"
    else:
        response = api.client.post("/v1/files", data=png(), content_type="image/png")
        pointer = None

    refused(response, 413, "file_too_large", pointer)
    assert api.written() == NOTHING


# --- multipart


def multipart(request: Any = None, **parts: tuple[io.BytesIO, str] | str) -> dict[str, Any]:
    return {**({} if request is None else {"request": json.dumps(request)}), **parts}


def file(content: bytes = b"") -> tuple[io.BytesIO, str]:
    return io.BytesIO(content or png()), "photo.png"


@pytest.mark.parametrize(
    ("form", "status", "code", "pointer"),
    [
        (lambda: multipart(photo=file()), 400, "malformed_body", ""),
        (lambda: multipart(match([{"part": "a"}]), a="text"), 400, "malformed_body", ""),
        (lambda: {"request": "{", "a": file()}, 400, "malformed_body", ""),
        (lambda: multipart(match([{"part": "b"}]), a=file()), 422, "invalid_request", "/input/images/0/part"),
        (lambda: multipart(match([{"part": "a"}]), a=file(), b=file()), 422, "invalid_request", ""),
        (
            lambda: multipart(match([{"part": "a"}]), a=file(b"no")),
            422,
            "image_not_recognized",
            "/input/images/0/part",
        ),
        (lambda: multipart(match([{"part": "a"}]), a=[file(), file()]), 400, "malformed_body", ""),
        (
            lambda: multipart(match([{"part": "a"}]), **{f"p{i}": file() for i in range(99)}),
            413,
            "body_too_large",
            None,
        ),
    ],
)
def test_a_bad_form_is_refused_and_leaves_nothing_behind(
    api: Api, form: Callable[[], Any], status: int, code: str, pointer: str | None
) -> None:
    response = api.client.post("/v1/jobs", data=form(), content_type="multipart/form-data")

    refused(response, status, code, pointer)
    assert api.written() == NOTHING


def test_a_plain_field_over_the_memory_limit_is_refused(api: Api) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n'
    body = io.BytesIO(head + b" " * 8_000_000 + b"\r\n--x--\r\n")

    response = api.client.post("/v1/jobs", input_stream=body, content_type="multipart/form-data; boundary=x")

    refused(response, 413, "body_too_large", "")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", None]
)
def test_another_media_type_is_refused(api: Api, content_type: str | None) -> None:
    response = api.client.post("/v1/jobs", data=json.dumps(classify()), content_type=content_type)

    refused(response, 415, "unsupported_media_type")
    assert api.written() == NOTHING


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_a_boundary_is_refused(api: Api, content_type: str) -> None:
    refused(api.client.post("/v1/jobs", data=b"--x\r\n", content_type=content_type), 400, "malformed_body")


# --- never 500

_NAMES = st.sampled_from(
    ["task", "input", "image", "images", "texts", "labels", "head", "top_k", "data", "file", "part", "url",
     "text", "fusion", "space", "encoding", "priority", "timeout_s", "retain_s", "start_within_s", "kind"]
) | st.text(max_size=5)  # fmt: skip
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["classify", "match", "embed", base64_png(), "0" * 64, "joint", "attention", "high"])
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=12,
)
_BODIES = _VALUES | st.fixed_dictionaries(
    {
        "task": st.sampled_from(["classify", "match", "embed"]),
        "input": st.dictionaries(_NAMES, _VALUES, max_size=5),
    },
    optional={"priority": _VALUES, "timeout_s": _VALUES, "labels": _VALUES, "retain_s": _VALUES},
)
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(body=_BODIES)
def test_no_json_body_makes_the_service_fail(api: Api, body: Any) -> None:
    response = api.client.post("/v1/jobs", data=json.dumps(body), content_type="application/json")

    if response.status_code != 202:
        assert response.status_code in {400, 413, 422}, response.get_data(as_text=True)
        assert response.mimetype == "application/problem+json"


@FUZZ
@given(
    body=st.binary(max_size=200),
    content_type=st.sampled_from(
        [
            "application/json",
            "multipart/form-data; boundary=x",
            "image/png",
            "text/plain",
            "application/json; charset=x",
        ]
    ),
    path=st.sampled_from(["/v1/jobs", "/v1/files"]),
)
def test_no_bytes_make_the_service_fail(api: Api, body: bytes, content_type: str, path: str) -> None:
    response = api.client.post(path, data=body, content_type=content_type)

    assert response.status_code in {400, 413, 415, 422}, response.get_data(as_text=True)
    assert response.mimetype == "application/problem+json"
