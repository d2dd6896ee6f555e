"""The cheap client hears what was said, whole, whatever pieces it comes in."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from benchmarks.wire import Answer, Conversation, Wire


@contextmanager
def server(serve: Callable[[socket.socket], None], connections: int = 1) -> Iterator[str]:
    """Run `serve` on each of so many connections, and yield the URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            for _ in range(connections):
                connection, _ = listener.accept()
                with connection:
                    serve(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Wakes whoever waits in `accept`, which closing does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def heard(connection: socket.socket) -> bytes:
    """Return the next request, head and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def test_an_answer_in_pieces_is_heard_whole() -> None:
    def serve(connection: socket.socket) -> None:
        heard(connection)
        for piece in (b"HTTP/1.1 202 Acc", b"epted\r\ncontent-LENGTH: 10\r\n\r\n01", b"234567", b"89"):
            connection.sendall(piece)

    with server(serve) as url:
        wire = Wire(url)
        answer = wire.ask(wire.request("GET", "/"))

    assert answer == Answer(202, b"0123456789")


def test_a_large_request_arrives_whole_and_two_follow_one_another_on_one_connection() -> None:
    large = b"x" * 8_000_000
    requests: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        for _ in range(2):
            requests.append(heard(connection))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def talk() -> Conversation:
        yield wire.request("POST", "/", large)
        yield 0.001
        yield wire.post_json("/next", {"a": 1})

    with server(serve) as url:
        wire = Wire(url)
        wire.talk([talk()])

    assert requests[0].endswith(large)
    assert requests[1].endswith(b'{"a":1}')


def test_a_connection_that_breaks_off_is_an_error_and_no_answer() -> None:
    def serve(connection: socket.socket) -> None:
        heard(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0")

    with server(serve) as url:
        wire = Wire(url)
        with pytest.raises(RuntimeError, match="closed a connection"):
            wire.ask(wire.request("GET", "/"))


def test_a_refusal_is_no_value() -> None:
    with pytest.raises(RuntimeError, match="503"):
        Answer(503, b"{}").json()
