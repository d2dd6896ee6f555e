"""Messages between parent and child, honest and not."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from worker.media import wire

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = wire.pair()
    with one, other:
        yield one, other


def test_what_is_sent_arrives(pair: Pair) -> None:
    wire.send(pair[0], {"a": [1, "é"]})
    assert wire.receive(pair[1]) == {"a": [1, "é"]}


def test_messages_do_not_run_together(pair: Pair) -> None:
    wire.send(pair[0], {"n": 1})
    wire.send(pair[0], {"n": 2})
    assert [wire.receive(pair[1]) for _ in range(2)] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "lie",
    [
        b"not json",
        b"[1]",
        b"\xff\xfe",
        b"{",
        b"\0",
        b"[" * 60_000,
        b'{"long": "' + b"x" * 100_000 + b'"}',
        b"\x80\x04\x8c\x02os\x94.",  # a pickle
    ],
)
def test_what_is_no_message_loses_the_peer(pair: Pair, lie: bytes) -> None:
    pair[0].send(lie)
    with pytest.raises(wire.PeerLost):
        wire.receive(pair[1])


def test_a_peer_that_closed_is_lost(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(wire.PeerLost, match="closed"):
        wire.receive(pair[1])


def test_silence_ends_at_the_sockets_timeout(pair: Pair) -> None:
    pair[1].settimeout(0.01)
    with pytest.raises(TimeoutError):
        wire.receive(pair[1])
