"""Ports of this machine, taken so that nobody comes between."""

from __future__ import annotations

import errno
import random
import socket

from client.errors import StackFailed

#: Below where systems hand out ports for outgoing connections (Linux from 32768, macOS from 49152). In that
#: range a client that keeps knocking at a closed port can be given the same port for itself, and then holds
#: the server out when it comes back.
_SERVER_PORTS = range(20_000, 30_000)
_BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Whoever serves inherits the socket, so the port stays taken while a server is replaced: callers wait
    a moment instead of being turned away.

    Raises:
        StackFailed: the port is taken, or the host is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StackFailed(_why_not(host, port, error)) from error
    return listener


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; stop what uses it, or give another --port (0: any free one)"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights; give one above 1023 with --port"
    return f"cannot listen on {host} port {port}: {error.strerror or error}; check --host and --port"


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago, for a server that must bind it itself."""
    for port in random.sample(_SERVER_PORTS, 50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise StackFailed(f"no free port between {_SERVER_PORTS.start} and {_SERVER_PORTS.stop} on {host}")


def url_of(listener: socket.socket) -> str:
    """Return where a listening socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # read, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
