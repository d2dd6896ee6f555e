"""One message to somebody else's server, which may be slow, broken or hostile."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

import httpcore

from worker.lines import FAILURES, Line, request_url
from worker.targets import Target

#: Of an answer's body nothing is needed; so much is taken, that a polite server may finish.
_READ_BYTES = 1024

Headers = Mapping[str, str]


class PostFailed(Exception):
    """No answer came; its text says why."""


class Poster:
    """Sends one request at a time, each on a connection of its own."""

    def __init__(self, tls: ssl.SSLContext, timeout: timedelta) -> None:
        """Take whom to trust, and in what time all of a request must be done, however slowly bytes come."""
        self._tls = tls
        self._seconds = timeout.total_seconds()

    def post(self, target: Target, body: bytes, headers: Headers) -> int:
        """Send a request to an address that was checked, and return the answer's status; follow nothing.

        Args:
            target: what `Targets.find` returned for the URL.

        Raises:
            PostFailed: no answer came.
        """
        line = Line(target, time.monotonic() + self._seconds)
        named = [("host", target.endpoint.authority), *headers.items()]
        url = request_url(target.endpoint)
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls, network_backend=line) as pool,
                pool.stream("POST", url, headers=named, content=body) as response,
            ):
                with suppress(*FAILURES):
                    _take_some(response)
                return response.status
        except httpcore.TimeoutException as error:
            raise PostFailed(f"no answer within {self._seconds:g} s") from error
        except FAILURES as error:
            raise PostFailed(f"the connection failed: {error or type(error).__name__}") from error


def _take_some(response: httpcore.Response) -> None:
    taken = 0
    for chunk in response.iter_stream():
        taken += len(chunk)
        if taken >= _READ_BYTES:
            return
