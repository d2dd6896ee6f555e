"""Connections to somebody else's server, which may be slow, broken or hostile."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

from shared.addresses import Endpoint
from worker.targets import Target

#: What a connection raises besides a timeout, and a timeout.
FAILURES = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)
#: For one address of several to accept a connection, and for a server to agree on how to encrypt it.
_CONNECT_S = 10.0
#: How soon it is noticed, while nothing comes, that nobody waits any longer.
_LOOK_S = 0.25


def go_on() -> None:
    """Let a connection take all the time it has."""


def request_url(endpoint: Endpoint) -> httpcore.URL:
    """Return a URL in the client's form, of parts that were checked: no second reader takes it apart."""
    return httpcore.URL(
        scheme=endpoint.scheme, host=endpoint.host, port=endpoint.port, target=endpoint.target
    )


class Line(httpcore.NetworkBackend):
    """Connects to a target only, with no proxy between, and lets nothing outlast its deadline."""

    def __init__(self, target: Target, deadline: float, check: Callable[[], None] = go_on) -> None:
        """Take where to.

        Args:
            target: what was checked.
            deadline: by `time.monotonic`.
            check: called a few times a second while nothing comes; what it raises ends the connection.
        """
        self.target = target
        self._deadline = deadline
        self._check = check
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002  # resolving it again might lead elsewhere
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # the deadline is all there is
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("its host has no address")
        port = self.target.endpoint.port
        for address in self.target.addresses:
            self._check()
            left = min(_left(self._deadline), _CONNECT_S)
            try:
                stream = self._sockets.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self._deadline, self._check)
        raise failure


class _Stream(httpcore.NetworkStream):
    """A connection whose every step must be done by the same moment."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float, check: Callable[[], None]) -> None:
        self._stream = stream
        self._deadline = deadline
        self._check = check

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        while True:
            self._check()
            left = _left(self._deadline)
            try:
                return self._stream.read(max_bytes, min(left, _LOOK_S))
            except httpcore.ReadTimeout:
                continue

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._check()
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        self._check()
        left = min(_left(self._deadline), _CONNECT_S)
        secure = self._stream.start_tls(ssl_context, server_hostname, left)
        return _Stream(secure, self._deadline, self._check)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left
