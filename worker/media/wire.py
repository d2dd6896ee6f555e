"""What parent and child say to each other: JSON objects, one a packet. Never a pickle.

A child that a hostile image has taken over can then lie about pixels, and nothing else.
"""

from __future__ import annotations

import json
import socket
from typing import Any

_MAX_BYTES = 65536


class PeerLost(Exception):
    """The other side closed, or does not keep to the protocol."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that carry whole messages: none trickles, none runs into the next."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(peer: socket.socket, message: dict[str, Any]) -> None:
    """Send one message."""
    peer.send(json.dumps(message).encode())


def receive(peer: socket.socket) -> dict[str, Any]:
    """Return the next message.

    Raises:
        PeerLost: it closed, or what it says is no message.
        TimeoutError: none came within the socket's timeout.
    """
    packet = peer.recv(_MAX_BYTES)
    if not packet:
        raise PeerLost("closed")
    try:
        message = json.loads(packet)
    except (ValueError, RecursionError) as error:
        raise PeerLost("a message is not JSON") from error
    if not isinstance(message, dict):
        raise PeerLost("a message is not an object")
    return message
