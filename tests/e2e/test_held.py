"""Requests that wait, and callers that dawdle, on the real server: each costs a connection, no more."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import Up, eventually

SUBMIT = {"task": "embed", "input": {"texts": ["a"]}}


@pytest.fixture
def few(start: Callable[..., Up]) -> Up:
    """Return a service of few threads, and little patience."""
    return start(
        ICONOTEXT_API_THREADS="6",
        ICONOTEXT_API_HEAD_TIMEOUT="1.5",
        ICONOTEXT_API_BODY_RATE="1000",
        ICONOTEXT_API_HEARTBEAT="0.2",
        # Nobody claims: what is submitted waits.
        ICONOTEXT_POOLS="elsewhere",
    ).wait_until_ready()


def _connect(up: Up) -> socket.socket:
    parts = urlsplit(up.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def _submitted(up: Up) -> str:
    return str(httpx.post(f"{up.url}/v1/jobs", json=SUBMIT).raise_for_status().json()["id"])


@contextlib.contextmanager
def _stream(up: Up, job: str) -> Iterator[Iterator[str]]:
    with httpx.stream("GET", f"{up.url}/v1/jobs/{job}/events", timeout=20) as response:
        assert response.status_code == 200, response.read()
        yield response.iter_lines()


def _said(line: socket.socket) -> bytes:
    """Return all that comes until the service hangs up."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while came := line.recv(65_536):
            said += came
    return said


def test_callers_that_say_little_or_nothing_take_no_thread(few: Up) -> None:
    with contextlib.ExitStack() as crowd:
        for number in range(60):
            line = crowd.enter_context(_connect(few))
            line.sendall([b"", b"G", b"GET /v1/jobs HTTP/1.1\r\nHost: local"][number % 3])

        began = time.monotonic()
        for _ in range(20):
            assert httpx.get(f"{few.url}/livez").status_code == 200

        # Ten times the threads trickle, and nobody waited for one of them.
        assert time.monotonic() - began < 1.5


def test_a_head_that_does_not_come_to_its_end_is_given_up(few: Up) -> None:
    with _connect(few) as line:
        line.sendall(b"GET /livez HTTP/1.1\r\nHost: local")
        began = time.monotonic()

        said = _said(line)

        assert said.startswith(b"HTTP/1.1 408 ")
        assert 1.0 < time.monotonic() - began < 10.0


def test_a_head_in_many_pieces_is_answered(few: Up) -> None:
    with _connect(few) as line:
        for byte in b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n":
            line.sendall(bytes([byte]))

        assert b"200 OK" in _said(line)


def test_requests_that_follow_each_other_are_answered_in_order(few: Up) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with _connect(few) as line:
        line.sendall(one * 3 + last)

        said = _said(line)

    assert said.count(b"HTTP/1.1 200") == 4
    assert b'"checks"' in said.rpartition(b"HTTP/1.1")[2]


def test_a_body_that_trickles_is_refused(few: Up) -> None:
    with _connect(few) as line:
        line.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 5000\r\n\r\n{"
        )

        said = _said(line)

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "request_timeout"


def test_a_head_of_many_lines_buys_no_time_by_its_bytes(few: Up) -> None:
    with _connect(few) as line:
        line.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        began = time.monotonic()

        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # 40 kB/s, forty times what a body must come at, and within gunicorn's own limits.
            for number in range(95):
                line.sendall(b"X-%d: %b\r\n" % (number, b"a" * 8_000))
                assert time.monotonic() - began < 15, "it holds a thread for as long as it likes"
                time.sleep(0.2)
        held_s = time.monotonic() - began

    assert held_s < 6
    assert httpx.get(f"{few.url}/livez").status_code == 200


def test_a_body_in_pieces_is_taken_as_long_as_it_comes(few: Up) -> None:
    body = json.dumps(SUBMIT | {"labels": {"padding": "x" * 200}}).encode()
    with _connect(few) as line:
        line.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        for start in range(0, len(body), 7):
            line.sendall(body[start : start + 7])

        assert _said(line).startswith(b"HTTP/1.1 202 ")


def test_a_caller_that_hangs_up_leaves_its_seat(few: Up) -> None:
    job = _submitted(few)
    for _ in range(3):
        # Of six threads, two may wait.
        with contextlib.ExitStack() as crowd:
            # Kept: httpx hangs up when nobody holds the lines any more.
            held = [crowd.enter_context(_stream(few, job)) for _ in range(2)]
            for lines in held:
                next(lines)
            refused = httpx.get(f"{few.url}/v1/jobs/{job}/events")
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")

        def is_free() -> bool:
            with httpx.stream("GET", f"{few.url}/v1/jobs/{job}/events") as response:
                return response.status_code == 200

        eventually(is_free, seconds=5.0)


def test_a_stream_tells_the_end_at_once(few: Up) -> None:
    job = _submitted(few)
    with _stream(few, job) as lines:
        assert next(lines) == "retry: 2000"
        httpx.post(f"{few.url}/v1/jobs/{job}/cancel").raise_for_status()

        told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data:")]

    assert [one["status"] for one in told] == ["queued", "canceled"]


def test_a_service_that_stops_lets_nobody_wait(few: Up) -> None:
    job = _submitted(few)
    with _stream(few, job) as lines:
        next(lines)
        few.process.send_signal(signal.SIGINT)
        began = time.monotonic()

        for _ in lines:
            pass

        assert time.monotonic() - began < 5.0
    assert few.process.wait(30) == 0
