"""What parent and child say to each other: a JSON head and a body of bytes. Never a pickle.

A child that a hostile image has taken over can then lie about pixels, and nothing else.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

_SIZES = struct.Struct("!IQ")  # bytes of the head, bytes of the body
_MAX_HEAD_BYTES = 65536


class PeerLost(Exception):
    """The other side closed, or does not keep to the protocol."""


def send(peer: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
    """Send one message; the socket's timeout is for all of it."""
    encoded = json.dumps(head).encode()
    peer.sendall(_SIZES.pack(len(encoded), len(body)) + encoded)
    peer.sendall(body)


def receive(
    peer: socket.socket, *, max_body: int, deadline: float | None = None
) -> tuple[dict[str, Any], bytearray]:
    """Return the next message's head and body.

    Args:
        peer: blocking.
        max_body: bytes; a longer body breaks the protocol.
        deadline: on `time.monotonic()`; None waits for ever.

    Raises:
        PeerLost: it closed, or what it says is no message.
        TimeoutError: the deadline passed.
    """
    head_bytes, body_bytes = _SIZES.unpack(_read(peer, _SIZES.size, deadline))
    if head_bytes > _MAX_HEAD_BYTES or body_bytes > max_body:
        raise PeerLost(f"announces {head_bytes} and {body_bytes} bytes")
    try:
        head = json.loads(_read(peer, head_bytes, deadline))
    except ValueError as error:
        raise PeerLost("the head is not JSON") from error
    if not isinstance(head, dict):
        raise PeerLost("the head is not an object")
    return head, _read(peer, body_bytes, deadline)


def _read(peer: socket.socket, count: int, deadline: float | None) -> bytearray:
    content = bytearray(count)
    rest = memoryview(content)
    while rest:
        if deadline is not None:
            # Zero would make the socket non-blocking.
            peer.settimeout(max(deadline - time.monotonic(), 1e-6))
        got = peer.recv_into(rest)
        if not got:
            raise PeerLost("closed")
        rest = rest[got:]
    return content
