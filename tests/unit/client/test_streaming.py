"""A job is listened to until it has ended, over a real server that breaks off in every way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from client import Client, NotFound, ServiceUnreachable
from tests.unit.client.conftest import connected

HEAD = b"retry: 1\n\n"


def told(version: int, status: str = "running", **fields: Any) -> bytes:
    """Return the event of a job, as the service sends it."""
    job = {"id": "job_1", "task": "match", "status": status, "version": version, **fields}
    return f"id: {version}\nevent: job\ndata: {json.dumps(job)}\n\n".encode()


@dataclass
class Reply:
    """What one request is answered with."""

    pieces: list[bytes] = field(default_factory=list)
    status: int = 200
    media_type: str = "text/event-stream; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    #: Say when the body ends; else the connection breaks.
    is_ended: bool = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(
            {"path": self.path, **{key.lower(): value for key, value in self.headers.items()}}
        )
        reply = self.server.replies.pop(0)
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.media_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if reply.status == 204:
            return
        for piece in reply.pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if reply.is_ended:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def log_message(self, *words: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[Reply] = []
        self.asked: list[dict[str, str]] = []


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def client(kind: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr("client.streaming._RETRY_S", 0.001)
    with connected(kind, f"http://127.0.0.1:{server.server_address[1]}", timeout=5.0) as made:
        yield made


def versions(client: Client) -> list[tuple[int, str]]:
    return [(job.version, job.status) for job in client.stream("job_1")]


def test_each_change_is_told_and_the_last_one_has_the_result(client: Client, server: Server) -> None:
    last = told(3, "succeeded", result={"dim": 1})
    server.replies = [Reply([HEAD, told(1, "queued"), b": heartbeat\n\n", told(2)[:9], told(2)[9:], last])]

    jobs = list(client.stream("job_1"))

    assert [job.version for job in jobs] == [1, 2, 3]
    assert jobs[-1].result == {"dim": 1}
    [asked] = server.asked
    assert (asked["path"], asked["accept"]) == ("/v1/jobs/job_1/events", "text/event-stream")
    assert "last-event-id" not in asked


@pytest.mark.parametrize("is_ended", [True, False], ids=["ended", "broken off"])
def test_a_stream_that_ends_early_goes_on_after_the_last_event(
    client: Client, server: Server, is_ended: bool
) -> None:
    server.replies = [
        Reply([HEAD, told(1), told(2), b"id: 3\nevent: job\ndata: {"], is_ended=is_ended),
        Reply([HEAD, told(4, "failed")]),
    ]

    assert versions(client) == [(1, "running"), (2, "running"), (4, "failed")]
    assert server.asked[1]["last-event-id"] == "2"


def test_what_is_told_twice_is_said_once(client: Client, server: Server) -> None:
    server.replies = [Reply([HEAD, told(1)]), Reply([HEAD, told(1), told(2, "canceled")])]
    assert versions(client) == [(1, "running"), (2, "canceled")]


def test_where_there_is_nothing_more_to_tell_it_ends(client: Client, server: Server) -> None:
    server.replies = [Reply([HEAD, told(1)]), Reply(status=204)]
    assert versions(client) == [(1, "running")]


def test_a_service_that_starts_anew_is_waited_for(client: Client, server: Server) -> None:
    away = Reply([b'{"code": "overloaded", "detail": "no room"}'], 503, "application/problem+json")
    server.replies = [Reply([HEAD, told(1)]), *[away] * 7, Reply([HEAD, told(2, "succeeded")])]
    assert versions(client) == [(1, "running"), (2, "succeeded")]


def test_a_seat_is_waited_for_as_the_service_asks(client: Client, server: Server) -> None:
    full = Reply([b'{"code": "overloaded", "detail": "no seat"}'], 503, "application/problem+json")
    full.headers = {"Retry-After": "0"}
    server.replies = [*[full] * 7, Reply([HEAD, told(2, "succeeded")])]
    assert versions(client) == [(2, "succeeded")]


def test_no_seat_for_long_is_said(client: Client, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.streaming._OUTAGE_S", -1.0)
    full = Reply([b'{"code": "overloaded", "detail": "no seat"}'], 503, "application/problem+json")
    full.headers = {"Retry-After": "0"}
    server.replies = [full] * 9

    with pytest.raises(ServiceUnreachable, match="no seat") as told_so:
        versions(client)
    assert told_so.value.retry_after_s == 0


def test_a_job_that_is_deleted_meanwhile_is_not_found(client: Client, server: Server) -> None:
    server.replies = [Reply([HEAD, told(1), b"event: gone\ndata: {}\n\n"])]
    with pytest.raises(NotFound, match="job job_1 was deleted while it was listened to"):
        versions(client)


def test_a_job_that_is_not_there_is_refused_at_once(client: Client, server: Server) -> None:
    server.replies = [
        Reply([b'{"code": "not_found", "detail": "no such job"}'], 404, "application/problem+json")
    ]
    with pytest.raises(NotFound, match="no such job"):
        versions(client)


def test_an_answer_without_events_is_told_apart(client: Client, server: Server) -> None:
    server.replies = [Reply([b"<html>"], media_type="text/html")]
    with pytest.raises(ServiceUnreachable, match="does not answer with events"):
        versions(client)


def test_leaving_early_hangs_up(client: Client, server: Server) -> None:
    server.replies = [Reply([HEAD, told(1), told(2)], is_ended=False)]
    stream = client.stream("job_1")
    next(stream)
    stream.close()
    # The server waits for its connections: its end says that this one is closed.
