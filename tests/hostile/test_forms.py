"""Multipart forms made to be read wrongly, at length, or under another name, on the running service."""

from __future__ import annotations

import hashlib
import json
import time

import httpx
import pytest

from tests.direct import plain, png
from tests.e2e.conftest import Up

_REQUEST = json.dumps({"task": "embed", "input": {"images": [{"part": "photo"}]}}).encode()
_BOUNDARY = "7f3a"
_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"
_FIELD = b'Content-Disposition: form-data; name="request"'
#: Of the whole form, on two busy cores.
_ANSWERED_WITHIN_S = 5.0


def _form(*parts: tuple[bytes, bytes], end: bytes = b"--7f3a--\r\n") -> bytes:
    return b"".join(b"--7f3a\r\n" + head + b"\r\n\r\n" + body + b"\r\n" for head, body in parts) + end


def _named(filename: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="photo"; filename=' + filename


def _post(
    http: httpx.Client, body: bytes, content_type: str = _TYPE, path: str = "/v1/jobs"
) -> httpx.Response:
    began = time.monotonic()
    answer = http.post(path, content=body, headers={"Content-Type": content_type})
    assert time.monotonic() - began < _ANSWERED_WITHIN_S
    return answer


@pytest.fixture(scope="module")
def photo() -> bytes:
    return png(plain((220, 30, 30)))


@pytest.mark.parametrize(
    "filename",
    [
        b'"../../../../etc/passwd"',
        b'"..\\\\..\\\\boot.ini"',
        b'"/etc/passwd"',
        b'"a\\"; name=\\"request"',
        b'"red.png\x00.php"',
        b'""',
        b'"' + b"a" * 4_000 + b'"',
        '"\u202egnp.exe"'.encode(),
        b"red.png; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd",
        b'"<script>alert(1)</script>.svg"',
        b'"con"',
        b'"$(touch here)"',
    ],
)  # fmt: skip
def test_a_file_s_name_names_nothing_here(
    http: httpx.Client, attacked: Up, photo: bytes, filename: bytes
) -> None:
    answer = _post(http, _form((_named(filename), photo)), path="/v1/files")

    # Only the bytes count; or the name makes it no form at all.
    if answer.is_success:
        assert answer.json()["id"] == hashlib.sha256(photo).hexdigest()
    else:
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    made = {path.name for path in (attacked.data_dir / "blobs").rglob("*") if path.is_file()}
    assert {name for name in made if not set(name) <= set("0123456789abcdef")} == set()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", _form((_FIELD, _REQUEST))),
        ("multipart/form-data; boundary=", _form((_FIELD, _REQUEST))),
        ('multipart/form-data; boundary="7f3a', b""),
        ("multipart/form-data; boundary=" + "a" * 7_000, _form((_FIELD, _REQUEST))),
        ("multipart/form-data; boundary=other", _form((_FIELD, _REQUEST))),
        (_TYPE, b""),
        (_TYPE, b"--7f3a" * 200_000),
        (_TYPE, b"--7f3a\r\n" * 200_000),
        (_TYPE, _form((_FIELD, _REQUEST), end=b"")),
        (_TYPE, _form((b"X" * 500_000 + b": a", b""))),
        (_TYPE, _form((b"X: a\r\n" * 100_000 + _FIELD, _REQUEST))),
        (_TYPE, _form((b"Content-Disposition: form-data", _REQUEST))),
        (_TYPE, _form((b'Content-Disposition: form-data; name="\xff"', _REQUEST))),
        (_TYPE, _form((_FIELD, _REQUEST)).replace(b"\r\n", b"\n")),
    ],
    ids=lambda value: f"{len(value)} of {value[:40]!r}",
)
def test_what_is_no_form_is_malformed(http: httpx.Client, content_type: str, body: bytes) -> None:
    answer = _post(http, body, content_type)

    assert (answer.status_code, answer.json()["code"]) in {(400, "malformed_body"), (413, "body_too_large")}


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        # Which of two would be meant?
        ([(_FIELD, _REQUEST), (_FIELD, _REQUEST)], 400),
        ([(_FIELD, _REQUEST), (_named(b"a"), b""), (_named(b"b"), b"")], 400),
        ([(_FIELD, b"{}")], 422),
        ([(_named(b"a"), b"a")], 400),
        ([(_FIELD, _REQUEST), (_named(b"a"), b"a"), (_named(b"a").replace(b"photo", b"other"), b"a")], 422),
        ([(_FIELD + b"\r\nContent-Type: multipart/mixed; boundary=in", b"--in\r\n\r\n{}\r\n--in--")], 400),
        ([(_FIELD + b"\r\nContent-Transfer-Encoding: base64", b"e30=")], 400),
        ([(_FIELD, b"a" * 6_000_000 + _REQUEST)], 400),
        ([(_FIELD, b"[" * 2_000_000)], 422),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_form_that_may_mean_two_things_means_none(
    http: httpx.Client, parts: list[tuple[bytes, bytes]], status: int
) -> None:
    answer = _post(http, _form(*parts))

    assert answer.status_code == status, answer.text
    assert answer.json()["code"]


def test_parts_without_number_are_refused_before_they_are_read(http: httpx.Client) -> None:
    many = _form(*((b'Content-Disposition: form-data; name="%d"' % number, b"") for number in range(50_000)))

    answer = _post(http, many)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
