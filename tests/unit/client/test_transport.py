"""Requests over real connections, which are kept."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from client.driving import AsyncDriver, Driver
from client.errors import ServiceUnreachable
from client.flows import Flow, Pause
from client.transport import LIMITS, Transport


class Handler(BaseHTTPRequestHandler):
    """Echoes; the path says how."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.server.callers.append(self.client_address[1])
        if (key := self.headers["Idempotency-Key"]) is not None:
            self.server.keys.append(key)
            if len(self.server.keys) < 3:
                # Taken in, and the answer lost.
                self.close_connection = True
                return
        if self.path == "/late":
            self.server.released.wait(10)
        # Who asked may have given up.
        with contextlib.suppress(ConnectionError):
            self.send_response(200)
            self.send_header("Content-Length", "100" if self.path == "/half" else str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        # Without a word, as a server does with a connection that was idle for long.
        self.close_connection |= self.path in {"/drop", "/half"}

    def log_message(self, *words: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        #: The port of the caller of each request, which names its connection.
        self.callers: list[int] = []
        #: The key of each submit.
        self.keys: list[str] = []
        self.released = threading.Event()
        #: It has closed a connection.
        self.closed = threading.Event()

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        super().shutdown_request(request)
        self.closed.set()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.released.set()
        made.shutdown()
        thread.join()


class Wire:
    """A transport, and who drives it."""

    def __init__(self, port: int, *, is_awaited: bool, timeout: float = 10.0) -> None:
        self._transport = Transport(f"http://127.0.0.1:{port}", timeout=timeout, api_key=None)
        self._runner = asyncio.Runner() if is_awaited else None
        self._driver = Driver(httpx.Client(limits=LIMITS))
        self._awaited = AsyncDriver(httpx.AsyncClient(limits=LIMITS))

    def request(self, *given: Any, **named: Any) -> httpx.Response:
        return self._run(self._transport.request(*given, **named))

    def submit(self, *given: Any) -> httpx.Response:
        return self._run(self._transport.submit(*given))

    def request_at_once(self, bodies: Sequence[bytes]) -> list[bytes]:
        """Return what each body is answered with, eight at a time."""
        requests = [
            self._transport.request("POST", "/", body=(body, "application/octet-stream")) for body in bodies
        ]
        if self._runner is None:
            with ThreadPoolExecutor(8) as pool:
                return [answer.content for answer in pool.map(self._driver.run, requests)]
        return [answer.content for answer in self._runner.run(self._gathered(requests))]

    def close(self) -> None:
        self._driver.close()
        with asyncio.Runner() if self._runner is None else self._runner as runner:
            runner.run(self._awaited.close())

    def _run(self, flow: Flow[httpx.Response]) -> httpx.Response:
        return self._driver.run(flow) if self._runner is None else self._runner.run(self._awaited.run(flow))

    async def _gathered(self, flows: Sequence[Flow[httpx.Response]]) -> list[httpx.Response]:
        room = asyncio.Semaphore(8)

        async def run(flow: Flow[httpx.Response]) -> httpx.Response:
            async with room:
                return await self._awaited.run(flow)

        return await asyncio.gather(*map(run, flows))


Connect = Callable[..., Wire]


@pytest.fixture(params=[False, True], ids=["blocking", "awaited"])
def connect(request: pytest.FixtureRequest, server: Server) -> Iterator[Connect]:
    """Return what connects to the server; closed before it, which waits for its connections' threads."""
    wires = []

    def make(timeout: float = 10.0) -> Wire:
        wires.append(Wire(server.server_address[1], is_awaited=request.param, timeout=timeout))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()


@pytest.fixture
def transport(connect: Connect) -> Wire:
    return connect()


def post(transport: Wire, content: bytes) -> bytes:
    return transport.request("POST", "/", body=(content, "application/octet-stream")).content


def test_a_connection_is_used_again(transport: Wire, server: Server) -> None:
    transport.request("GET", "/")
    assert post(transport, b"content") == b"content"
    transport.request("GET", "/")
    assert len(server.callers) == 3
    assert len(set(server.callers)) == 1


def test_a_submit_bears_that_its_connection_was_closed_while_idle(transport: Wire, server: Server) -> None:
    transport.request("GET", "/drop")
    assert server.closed.wait(10)

    assert post(transport, b"x") == b"x"


def test_a_submit_whose_answer_was_lost_comes_again_with_its_key(transport: Wire, server: Server) -> None:
    transport.request("GET", "/")
    assert transport.submit("/v1/jobs", (b"{}", "application/json")).content == b"{}"
    assert len(server.keys) == 3
    assert len(set(server.keys)) == 1


@pytest.mark.parametrize("once", [True, False], ids=["submit", "read"])
def test_those_who_lose_their_service_together_do_not_come_back_together(
    monkeypatch: pytest.MonkeyPatch, *, once: bool
) -> None:
    monkeypatch.setattr("client.transport._PAUSES_S", (0.2, 0.8))

    def pause() -> float:
        transport = Transport("http://service", timeout=1.0, api_key=None)
        transport.was_reached = True
        request = transport.request("GET", "/", once=once)
        next(request)
        step = request.throw(httpx.ConnectError("refused"))
        assert isinstance(step, Pause)
        return step.seconds

    pauses = [pause() for _ in range(50)]

    assert len(set(pauses)) > 40
    assert all(0.1 <= seconds <= 0.3 for seconds in pauses)


def test_callers_do_not_share_a_connection_at_a_time(transport: Wire, server: Server) -> None:
    bodies = [str(number).encode() * 1_000 for number in range(200)]
    assert transport.request_at_once(bodies) == bodies
    assert len(set(server.callers)) <= 8


def test_nobody_gets_the_late_answer_to_a_request_that_was_given_up(connect: Connect, server: Server) -> None:
    transport = connect(timeout=0.05)
    with pytest.raises(ServiceUnreachable, match="ReadTimeout"):
        transport.request("GET", "/late")
    server.released.set()

    answer = transport.request("POST", "/", body=(b"mine", "application/octet-stream"), wait=10)
    assert answer.content == b"mine"


def test_half_an_answer_is_none(transport: Wire) -> None:
    with pytest.raises(ServiceUnreachable, match="broke off"):
        transport.request("GET", "/half", tried_again=False)
