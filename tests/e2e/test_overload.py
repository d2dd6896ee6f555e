"""More than the service may hold: it refuses in time, says when to come back, and finishes what it took."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import Up, eventually

_MARK = 20
_LARGE = 20 * 2**20


@pytest.fixture
def small(start: Callable[..., Up]) -> Up:
    """Return a stack in which few jobs may wait."""
    return start(ICONOTEXT_MAX_QUEUED_JOBS=str(_MARK)).wait_until_ready()


@pytest.fixture
def full(start: Callable[..., Up]) -> Up:
    """Return a stack on a disk that has no room for anything."""
    return start(ICONOTEXT_DISK_RESERVE_BYTES=str(2**60)).wait_until_ready()


def call(up: Up) -> httpx.Client:
    return httpx.Client(base_url=up.url, timeout=30, trust_env=False)


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"task": "embed", "input": {"texts": [text]}, **more}


def refusals(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("iconotext_refusals_total{"))


def counted(up: Up) -> int:
    """Return how many jobs the worker says it has ended."""
    with closing(sqlite3.connect(up.data_dir / "iconotext.db")) as database:
        [(info,)] = database.execute("SELECT info FROM workers").fetchall()
    announced = json.loads(info)
    assert announced["clock_s"] > 0
    return int(announced["outcomes"]["settled"].get("default", 0))


def test_ten_times_too_many_submits_are_refused_and_what_was_accepted_finishes(small: Up) -> None:
    with call(small) as caller, ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda n: caller.post("/v1/jobs", json=body(f"fake:sleep=0.2 n{n}")), range(10 * _MARK))
        )
        assert refusals(caller) == sum(response.status_code == 429 for response in answers)

    statuses = Counter(response.status_code for response in answers)
    assert set(statuses) == {202, 429}, statuses
    assert statuses[202] >= _MARK
    for response in answers:
        if response.status_code == 429:
            assert response.json()["code"] == "too_many_jobs"
            assert 1 <= int(response.headers["Retry-After"]) <= 300
    accepted = [response.json()["id"] for response in answers if response.status_code == 202]
    with small.client() as client:
        assert {job.status for job in client.wait_many(accepted, 30)} == {"succeeded"}
    # What the workers say of it is what the API takes their speed from.
    eventually(lambda: counted(small) == len(accepted))
    # There is room again.
    with call(small) as caller:
        eventually(lambda: caller.post("/v1/jobs", json=body("red")).status_code == 202)


def test_a_caller_that_sends_its_whole_body_first_still_gets_the_refusal(full: Up) -> None:
    large = json.dumps(body("a", padding="x" * _LARGE)).encode()

    for answer in (_by_socket(full.url, large), _in_chunks(full.url, large)):
        assert answer == (507, "blobs_full", True)
    with call(full) as caller:
        # One connection for both: the rest of the first body is no second request.
        for _ in range(2):
            response = caller.post("/v1/jobs", content=large, headers={"Content-Type": "application/json"})
            assert (response.status_code, response.json()["code"]) == (507, "blobs_full")


def _by_socket(url: str, large: bytes) -> tuple[int, str, bool]:
    """Send everything, and only then begin to read."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        head = (
            f"POST /v1/jobs HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(large)}\r\n\r\n"
        )
        connection.sendall(head.encode() + large)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return _read(response)


def _in_chunks(url: str, large: bytes) -> tuple[int, str, bool]:
    """Send it in chunks, of unknown length."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    pieces = (large[start : start + 2**16] for start in range(0, len(large), 2**16))
    connection.request(
        "POST", "/v1/jobs:batch", pieces, {"Content-Type": "application/json"}, encode_chunked=True
    )
    try:
        return _read(connection.getresponse())
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse) -> tuple[int, str, bool]:
    problem = json.loads(response.read())
    return response.status, problem["code"], int(response.headers["Retry-After"]) > 0
