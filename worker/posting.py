"""One request to somebody else's server, which may be slow, broken or hostile."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpcore

from worker.targets import Target

#: Of an answer's body nothing is needed; so much is taken, that a polite server may finish.
_READ_BYTES = 1024

Headers = Mapping[bytes | str, bytes | str]


class PostFailed(Exception):
    """No answer came; its text says why."""


class Poster:
    """Sends one request at a time, each on a connection of its own."""

    def __init__(self, tls: ssl.SSLContext, timeout: timedelta) -> None:
        """Take whom to trust, and in what time all of a request must be done, however slowly bytes come."""
        self._tls = tls
        self._seconds = timeout.total_seconds()

    def post(self, target: Target, url: str, body: bytes, headers: Headers) -> int:
        """Send a request to an address that was checked, and return the answer's status; follow nothing.

        Args:
            target: what `Targets.find` returned for the URL.

        Raises:
            PostFailed: no answer came.
        """
        line = _Line(target, time.monotonic() + self._seconds)
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls, network_backend=line) as pool,
                pool.stream("POST", url, headers=headers, content=body) as response,
            ):
                with suppress(*_FAILURES):
                    _take_some(response)
                return response.status
        except httpcore.TimeoutException as error:
            raise PostFailed(f"no answer within {self._seconds:g} s") from error
        except _FAILURES as error:
            raise PostFailed(f"the connection failed: {error or type(error).__name__}") from error


def _take_some(response: httpcore.Response) -> None:
    taken = 0
    for chunk in response.iter_stream():
        taken += len(chunk)
        if taken >= _READ_BYTES:
            return


_FAILURES = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)


class _Line(httpcore.NetworkBackend):
    """Connects to a target only, with no proxy between, and lets nothing outlast its deadline."""

    def __init__(self, target: Target, deadline: float) -> None:
        self._target = target
        self._deadline = deadline
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
        port = self._target.endpoint.port
        for address in self._target.addresses:
            left = _left(self._deadline)
            try:
                stream = self._sockets.connect_tcp(address, port, left, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
            else:
                return _Stream(stream, self._deadline)
        raise failure


class _Stream(httpcore.NetworkStream):
    """A connection whose every step must be done by the same moment."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _Stream(secure, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left
