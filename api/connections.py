"""The caller's connection, where the server shows it."""

from __future__ import annotations

from socket import socket

from flask import Request


class TooSlow(TimeoutError):
    """A caller sends its request more slowly than anybody has to."""


def line_of(request: Request) -> socket | None:
    """Return the socket that a request came by; None: the server keeps it to itself."""
    found = request.environ.get("gunicorn.socket")
    return found if isinstance(found, socket) else None
