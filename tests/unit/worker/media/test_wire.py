"""Messages between parent and child, honest and not."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from worker.media import wire

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def raw(head: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!IQ", len(head), len(body)) + head + body


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 100])
def test_what_is_sent_arrives(pair: Pair, body: bytes) -> None:
    wire.send(pair[0], {"a": [1, "é"]}, body)
    assert wire.receive(pair[1], max_body=len(body)) == ({"a": [1, "é"]}, body)


def test_messages_do_not_run_together(pair: Pair) -> None:
    wire.send(pair[0], {"n": 1}, b"one")
    wire.send(pair[0], {"n": 2}, b"two")
    assert [wire.receive(pair[1], max_body=3) for _ in range(2)] == [({"n": 1}, b"one"), ({"n": 2}, b"two")]


@pytest.mark.parametrize(
    "lie",
    [
        raw(b"not json"),
        raw(b"[1]"),
        raw(b"\xff\xfe"),
        raw(b"{}", b"four"),
        struct.pack("!IQ", 2**31, 0),
        struct.pack("!IQ", 2, 2**62),
        struct.pack("!IQ", 100, 0) + b"{",
        b"\0",
        b"",
    ],
)
def test_what_is_no_message_loses_the_peer(pair: Pair, lie: bytes) -> None:
    pair[0].sendall(lie)
    pair[0].close()
    with pytest.raises(wire.PeerLost):
        wire.receive(pair[1], max_body=3)


def test_a_pickle_is_no_message(pair: Pair) -> None:
    pair[0].sendall(raw(b"\x80\x04\x8c\x02os\x94."))
    with pytest.raises(wire.PeerLost, match="not JSON"):
        wire.receive(pair[1], max_body=3)


def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        wire.receive(pair[1], max_body=0, deadline=time.monotonic() + 0.01)


def test_a_message_that_trickles_ends_at_the_deadline(pair: Pair) -> None:
    pair[0].sendall(raw(json.dumps({}).encode(), b"abc")[:-1])
    with pytest.raises(TimeoutError):
        wire.receive(pair[1], max_body=3, deadline=time.monotonic() + 0.01)


def test_a_deadline_that_has_passed_is_no_wait(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        wire.receive(pair[1], max_body=0, deadline=time.monotonic() - 1)
