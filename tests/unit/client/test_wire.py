"""The client's own way over plain HTTP does what httpx's does, over connections that it keeps."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from client.wire import Wire


class Handler(BaseHTTPRequestHandler):
    """Echoes; the path says how."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        # Who asked may have given up.
        with contextlib.suppress(ConnectionError):
            self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.server.callers.append(self.client_address[1])  # type: ignore[attr-defined]
        if self.path == "/late":
            self.server.released.wait(10)  # type: ignore[attr-defined]
        self.send_response(304 if self.path == "/unchanged" else 200)
        self.send_header("X-Path", self.path)
        self.send_header("X-Sent", str(dict(self.headers.items())))
        if self.path == "/close":
            self.send_header("Connection", "close")
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            return
        if self.path == "/half":
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        if self.path != "/unchanged":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # Without a word, as a server does with a connection that was idle for long.
        self.close_connection |= self.path == "/drop"

    def log_message(self, *words: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        #: The port of the caller of each request, which names its connection.
        self.callers: list[int] = []
        self.released = threading.Event()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.released.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    # Closed before the server, which waits for its connections' threads.
    with Wire() as made:
        yield made


def ask(server: Server, path: str = "/", content: bytes | None = None, **limits: float) -> httpx.Request:
    return httpx.Request(
        "GET" if content is None else "POST",
        f"http://127.0.0.1:{server.server_address[1]}{path}",
        headers={"X-Name": "value"},
        content=content,
        extensions={"timeout": limits},
    )


def test_it_carries_method_path_headers_and_content_both_ways(wire: Wire, server: Server) -> None:
    body = bytes(range(256)) * 4_000

    response = wire.handle_request(ask(server, "/v1/jobs?wait=1&label.a=%20", body))

    assert response.status_code == 200
    assert response.headers["x-path"] == "/v1/jobs?wait=1&label.a=%20"
    assert "'x-name': 'value'" in response.headers["x-sent"].lower()
    assert response.content == body


def test_a_connection_is_used_again(wire: Wire, server: Server) -> None:
    for path in ("/", "/chunks", "/unchanged", "/"):
        wire.handle_request(ask(server, path))
    wire.handle_request(ask(server, "/", b"content"))
    assert len(server.callers) == 5
    assert len(set(server.callers)) == 1


def test_an_answer_in_chunks_is_put_together(wire: Wire, server: Server) -> None:
    assert wire.handle_request(ask(server, "/chunks")).content == b"abcde"


def test_an_answer_without_content_has_none(wire: Wire, server: Server) -> None:
    response = wire.handle_request(ask(server, "/unchanged"))
    assert (response.status_code, response.content) == (304, b"")


def test_a_connection_that_the_server_gives_up_is_not_used_again(wire: Wire, server: Server) -> None:
    for _ in range(2):
        wire.handle_request(ask(server, "/close"))
    assert len(set(server.callers)) == 2


def test_a_connection_that_was_closed_while_idle_is_not_used_again(wire: Wire, server: Server) -> None:
    wire.handle_request(ask(server, "/drop"))
    [(_, connection, _)] = wire._idle
    # Once the end of it has arrived.
    assert connection.sock.recv(1, socket.MSG_PEEK) == b""

    assert wire.handle_request(ask(server, "/", b"x")).content == b"x"


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    wire: Wire, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.handle_request(ask(server))
    monkeypatch.setattr("client.wire._IDLE_S", 0.0)
    wire.handle_request(ask(server))
    assert len(set(server.callers)) == 2


def test_threads_do_not_share_a_connection_at_a_time(wire: Wire, server: Server) -> None:
    def send(number: int) -> bool:
        body = str(number).encode() * 1_000
        return wire.handle_request(ask(server, "/", body)).content == body

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(send, range(200)))
    assert len(set(server.callers)) <= 8


def test_an_answer_that_does_not_come_is_a_timeout(wire: Wire, server: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        wire.handle_request(ask(server, "/late", read=0.05))
    server.released.set()
    # Not the late answer of the request before.
    assert wire.handle_request(ask(server, "/", b"mine")).content == b"mine"


def test_half_an_answer_is_none(wire: Wire, server: Server) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        wire.handle_request(ask(server, "/half"))


def test_no_connection_is_said_to_be_none(wire: Wire) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        with pytest.raises(httpx.ConnectError):
            wire.handle_request(httpx.Request("GET", f"http://127.0.0.1:{bound.getsockname()[1]}/"))


def test_closed_it_keeps_nothing(wire: Wire, server: Server) -> None:
    wire.handle_request(ask(server))
    wire.close()
    assert not wire._idle
