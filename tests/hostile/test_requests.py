"""Requests that two readers may read differently, on the running service: refused, and the line closed.

Whoever can make a proxy before us and ourselves see different requests in the same bytes can put words into
other callers' mouths (request smuggling).
"""

from __future__ import annotations

import contextlib
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import Up

_HOST = b"Host: 127.0.0.1\r\n"
_SUBMIT = b'{"task":"embed","input":{"texts":["a"]}}'
_HIDDEN = b"GET /v1/system HTTP/1.1\r\n" + _HOST + b"\r\n"
#: What only an answer to the hidden request holds.
_TELLTALE = b'"workers"'
_LAST_CHUNK = b"0\r\n\r\n"
_LENGTH = b"Content-Length: %d\r\n" % len(_SUBMIT)
_CHUNKED = b"Transfer-Encoding: chunked\r\n"


def _post(headers: bytes, body: bytes = _SUBMIT) -> bytes:
    head = b"POST /v1/jobs HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
    return head + headers + b"\r\n" + body


def _get(headers: bytes = b"", path: bytes = b"/livez") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + _HOST + headers + b"\r\n"


#: Whose length is one thing to one reader and another to the next.
AMBIGUOUS = {
    "a length and chunks": _post(b"Content-Length: 300\r\n" + _CHUNKED, _LAST_CHUNK + _HIDDEN),
    "chunks and a length": _post(_CHUNKED + b"Content-Length: 4\r\n", _LAST_CHUNK + _HIDDEN),
    "two lengths": _post(_LENGTH + b"Content-Length: 5\r\n"),
    "the same length twice": _post(_LENGTH + _LENGTH),
    "a list of lengths": _post(b"Content-Length: 40, 40\r\n"),
    "a length with a sign": _post(b"Content-Length: +40\r\n"),
    "a negative length": _post(b"Content-Length: -1\r\n"),
    "a hexadecimal length": _post(b"Content-Length: 0x28\r\n"),
    "a length with a fraction": _post(b"Content-Length: 40.0\r\n"),
    "a length with other digits": _post(b"Content-Length: \xef\xbc\x94\xef\xbc\x90\r\n"),
    "a blank before the colon": _post(b"Content-Length : 40\r\n"),
    "a coding's blank before the colon": _post(b"Transfer-Encoding : chunked\r\n", _LAST_CHUNK + _HIDDEN),
    "a coding after a vertical tab": _post(b"Transfer-Encoding: \x0bchunked\r\n", _LAST_CHUNK + _HIDDEN),
    "chunked twice": _post(_CHUNKED + _CHUNKED, _LAST_CHUNK + _HIDDEN),
    "chunked, then another coding": _post(b"Transfer-Encoding: chunked, gzip\r\n", _LAST_CHUNK + _HIDDEN),
    "identity": _post(b"Transfer-Encoding: identity\r\n"),
    "an unknown coding": _post(b"Transfer-Encoding: xchunked\r\n", _LAST_CHUNK + _HIDDEN),
    "chunks in HTTP/1.0": _post(_CHUNKED, _LAST_CHUNK + _HIDDEN).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "a folded header": _post(b"X-Note: a\r\n b\r\n" + _LENGTH),
    "a folded coding": _post(b"Transfer-Encoding:\r\n chunked\r\n", _LAST_CHUNK + _HIDDEN),
    "a line break without CR": _get(b"X-Note: a\nX-Other: b\r\n"),
    "a CR without a line break": _get(b"X-Note: a\rContent-Length: 5\r\n"),
    "a NUL in a header": _get(b"X-Note: a\0\r\n"),
    "two hosts": _get(b"Host: evil.example\r\n"),
    "two media types": _post(_LENGTH + b"Content-Type: text/plain\r\n"),
    "a header without a name": _get(b": a\r\n"),
    "a header without a colon": _get(b"X-Note\r\n"),
    "a header's name with a blank": _get(b"X Note: a\r\n"),
    "a header's name with letters of another alphabet": _get("X-Nöte: a\r\n".encode()),
    "an empty line first": b"\r\n\r\n" + _get(),
    "a target of other letters": _get(path="/v1/jöbs".encode()),
    "a target without a slash": _get(path=b"livez"),
    "a target with a blank": _get(path=b"/livez /readyz"),
    "a method in small letters": _get().replace(b"GET", b"get"),
    "HTTP/2 by itself": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.1": _get().replace(b"HTTP/1.1", b"HTTP/3.1"),
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 60 + b"\r\n\r\n",
    "the PROXY protocol": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + _get(),
    "a request to be a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an expectation nobody has": _post(b"Expect: 200-ok\r\n" + _LENGTH),
    "a long target": _get(path=b"/" + b"a" * 9_000),
    "a target longer than what is collected": _get(path=b"/" + b"a" * 70_000),
    "a long key": _get(b"Authorization: Bearer " + b"a" * 9_000 + b"\r\n", path=b"/v1/jobs"),
    "a hundred headers and one": _get(b"".join(b"X-%d: a\r\n" % number for number in range(101))),
    "an endless header": _get(b"X-Note: " + b"a" * 1_000_000),
}  # fmt: skip

#: Bodies in chunks that are none.
UNCHUNKED = {
    "a length that is no number": b"zz\r\n{}\r\n0\r\n\r\n",
    "a negative length": b"-1\r\n{}\r\n0\r\n\r\n",
    "a length with a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a length with a line": b"1_0\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its length": b"2\r\n{}}}\r\n0\r\n\r\n",
    "a header among the trailers that frames": b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a key among the trailers": b"2\r\n{}\r\n0\r\nAuthorization: Bearer a\r\n\r\n",
}


def _said(up: Up, sent: bytes) -> bytes:
    """Return all that the service says to these bytes; fail when it does not hang up."""
    parts = urlsplit(up.url)
    said = b""
    with (
        socket.create_connection((parts.hostname, parts.port), timeout=30) as line,
        # It may hang up while we still send, or before we have read.
        contextlib.suppress(ConnectionResetError, BrokenPipeError),
    ):
        line.sendall(sent)
        while came := line.recv(65_536):
            said += came
    return said


def _answered(up: Up, sent: bytes) -> list[int]:
    """Return the statuses that all that is asked here gets; the last request asks to hang up."""
    return [int(part[:3]) for part in _said(up, sent).split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("sent", [pytest.param(sent, id=name) for name, sent in AMBIGUOUS.items()])
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_line(attacked: Up, sent: bytes) -> None:
    said = _said(attacked, sent + _HIDDEN)

    assert said.count(b"HTTP/1.1 ") == 1, said
    assert 400 <= int(said[9:12]) < 500 or said[9:12] == b"501"
    assert _TELLTALE not in said
    assert b"job_" not in said


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in UNCHUNKED.items()])
def test_a_body_in_broken_chunks_is_refused_and_ends_the_line(attacked: Up, body: bytes) -> None:
    said = _said(attacked, _post(_CHUNKED, body) + _HIDDEN)

    head, _, answer = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer)["code"] == "malformed_body"
    assert said.count(b"HTTP/1.1 ") == 1


def test_the_hidden_request_is_answered_where_it_is_not_hidden(attacked: Up) -> None:
    assert _TELLTALE in _said(attacked, _get() + _get(b"Connection: close\r\n", path=b"/v1/system"))


def test_requests_in_one_piece_are_all_answered_wherever_a_read_ends(attacked: Up) -> None:
    # gunicorn reads 8,192 bytes at a time: here, exactly eight requests.
    padding = 1_024 - len(_get(b"X-Note: \r\n"))
    one = _get(b"X-Note: " + b"a" * padding + b"\r\n")
    assert len(one) == 1_024

    assert _answered(attacked, one * 20 + _get(b"Connection: close\r\n")) == [200] * 21


def test_a_request_without_a_host_is_refused(attacked: Up) -> None:
    said = _answered(attacked, b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert said == [400]


def test_a_body_longer_than_any_disk_is_too_large(attacked: Up) -> None:
    said = _answered(attacked, _post(b"Connection: close\r\nContent-Length: %s\r\n" % (b"9" * 30)))

    assert said == [413]


def test_a_switch_to_another_protocol_is_not_made(attacked: Up) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\n"

    assert _answered(attacked, _get(upgrade) + _get(b"Connection: close\r\n")) == [200, 200]


def test_a_head_whose_lines_end_without_cr_is_never_a_request(attacked: Up) -> None:
    said = _answered(attacked, b"GET /v1/system HTTP/1.1\nHost: 127.0.0.1\n\n")

    # Nobody waits for more than `ICONOTEXT_API_HEAD_TIMEOUT`.
    assert said == [408]


@pytest.mark.parametrize(
    "path",
    [
        "//v1/jobs",
        "/v1//jobs",
        "/v1/jobs/",
        "/v1/./jobs",
        "/v1/../v1/jobs",
        "/v1/%2e%2e/v1/jobs",
        "/V1/jobs",
        "/v1/jobs;a=b",
        "/v1/jobs%3Fwait=1",
        "/v1/jobs%00",
        "/v1/jobs/%00",
        "/v1/jobs/job_" + "9" * 31,
        "/v1/jobs/job_" + "9" * 33,
        "/v1/jobs/job_" + "A" * 32,
        "/v1/jobs/job_" + "%D9%A3" * 32,
        "/v1/jobs/job_" + "9" * 32 + "%0A",
        "/v1/jobs/job_" + "9" * 32 + "/artifacts/..%2F..%2Fetc%2Fpasswd",
        "/v1/jobs/job_" + "9" * 32 + "/artifacts/%FF%FE",
        "/v1/files/..%2F..%2Fetc%2Fpasswd/content",
        "/v1/files/" + "g" * 64,
        "/v1/files/%2e%2e/content",
        "/static/../app.py",
        "/static/%2e%2e/__init__.py",
        "/static/..%2f__init__.py",
        "/static/....//__init__.py",
        "/static/..%5c__init__.py",
        "/static/%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/page.js%00.css",
        "/static/",
        "/static/" + "a" * 4_000,
        "/%ED%A0%80",
        "/" + "a/" * 2_000,
    ],
)
def test_a_path_that_is_no_route_is_unknown(attacked: Up, path: str) -> None:
    # By hand: a client would tidy it up.
    said = _said(attacked, _get(b"Connection: close\r\n", path=path.encode()))

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 "), said
    assert json.loads(body)["code"] == "not_found"
    assert b"\r\nLocation:" not in head


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer " + "ik_" * 2_000},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": "Bearer ik_é".encode("latin-1")},
        {"If-None-Match": '"' + "a," * 3_000},
        {"Range": "bytes=" + "0-0," * 1_500},
        {"Accept": "*/*;q=" + "9" * 4_000},
        {"Cookie": "=" * 8_000},
        {"Idempotency-Key": "é".encode("latin-1")},
        {"Idempotency-Key": "a" * 5_000},
        {"Prefer": "wait=" + "9" * 4_000},
        {"Prefer": "wait=-1, wait=nan"},
        {"X-Request-Id": "a\tb" * 1_000},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"Last-Event-ID": "9" * 4_000},
        {"Origin": "http://" + "[" * 4_000},
        {"Content-Encoding": "gzip"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "multipart/form-data; boundary=" + "é" * 60},
        {"Content-Type": ";" * 8_000},
        {"Expect": "100-continue"},
        {"Transfer_Encoding": "chunked"},
        {"Content_Length": "3"},
    ],
    ids=lambda header: " ".join(str((name, len(value))) for name, value in header.items()),
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_header_is_more_than_ignored_or_refused(
    http: httpx.Client, method: str, header: dict[str, str | bytes]
) -> None:
    raw = [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in header.items()
    ]

    answer = http.request(method, "/v1/jobs", content=b"[]" if method == "POST" else None, headers=raw)

    assert answer.status_code < 500
    if answer.is_error:
        assert answer.json()["code"]


def test_two_keys_in_one_request_are_no_key(http: httpx.Client) -> None:
    answer = http.get("/v1/jobs", headers=[("Authorization", "Bearer a"), ("Authorization", "Bearer b")])

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
