"""Requests over HTTP, and their failures in the client's own words."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from client.errors import RequestRefused, ServiceUnreachable
from client.models import Problem

#: An address that does not answer at all is reported within this, whatever the caller's timeout.
_CONNECT_S = 5.0
#: Pauses before the second and the third try.
_PAUSES_S = (0.2, 0.8)
#: The longest `Retry-After` that is obeyed in silence.
_PATIENCE_S = 5.0

#: A multipart part: field name, (file name, content, media type).
Part = tuple[str, tuple[str | None, bytes, str]]


class Transport:
    """One service, spoken to over kept-alive connections. Safe to share among threads."""

    def __init__(
        self, base_url: str, *, timeout: float, api_key: str | None, transport: httpx.BaseTransport | None
    ) -> None:
        url = _checked(base_url)
        self.base_url = str(url).rstrip("/")
        self._http = httpx.Client(
            base_url=self.base_url,
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_S)),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            # HTTP_PROXY is not meant for this machine's own services, but httpx would obey it.
            trust_env=not _is_loopback(url.host),
            transport=transport,
        )
        self._timeout = timeout

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        files: Sequence[Part] = (),
        wait: float = 0.0,
        accept: Sequence[int] = (),
        tried_again: bool = True,
    ) -> httpx.Response:
        """Return the answer, which is a success or one of the statuses in `accept`.

        Tried again, briefly, when that does no harm: no connection, 429 and 503, or a GET that broke off.

        Args:
            wait: seconds that the service was asked to hold its answer back.
            tried_again: False for a probe, which wants to know how it is now.

        Raises:
            RequestRefused: the service said no.
            ServiceUnreachable: no answer, or one that says that the service is broken.
        """
        request = self._http.build_request(
            method,
            path,
            params=list(params) or None,
            headers=headers,
            json=json,
            files=list(files) or None,
            timeout=httpx.Timeout(self._timeout + wait, connect=min(self._timeout, _CONNECT_S)),
        )
        for pause in (*(_PAUSES_S if tried_again else ()), None):
            try:
                response = self._http.send(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if pause is None:
                    raise ServiceUnreachable(
                        f"nothing answers at {self.base_url}; start the service with `iconotext up`, "
                        "or name another with --url or ICONOTEXT_URL"
                    ) from error
            except httpx.TransportError as error:
                # Reading again does no harm. Whether a submit got through is unknown.
                if method != "GET" or pause is None or isinstance(error, httpx.TimeoutException):
                    raise ServiceUnreachable(
                        f"{self.base_url} broke off during {method} {path} "
                        f"({type(error).__name__}); try again"
                    ) from error
            else:
                if response.is_success or response.status_code in accept:
                    return response
                asked_s = _retry_after(response)
                if pause is None or asked_s is None or asked_s > _PATIENCE_S:
                    raise _failure(response, self.base_url)
                time.sleep(asked_s)
            time.sleep(pause)
        raise AssertionError("the last try answers or raises")


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ServiceUnreachable(f"{base_url!r} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ServiceUnreachable(f"{base_url!r} is no service URL; give one like http://127.0.0.1:8000")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_after(response: httpx.Response) -> float | None:
    """Return how long to wait before another try; None when another try is useless."""
    if response.status_code not in (429, 503):
        return None
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def _failure(response: httpx.Response, base_url: str) -> RequestRefused | ServiceUnreachable:
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    status = response.status_code
    words = body.get("detail") or body.get("title") or response.reason_phrase or "no reason given"
    if status >= 500:
        mark = f", request {body['request_id']}" if body.get("request_id") else ""
        return ServiceUnreachable(
            f"{base_url} cannot serve: {words} (status {status}{mark}); try again later"
        )
    if status < 400 or not body:
        words = f"{base_url} does not answer like an Iconotext service (status {status}); check the URL"
    faults = body.get("errors")
    return RequestRefused(
        str(words),
        code=str(body.get("code") or f"http_{status}"),
        status=status,
        problems=[Problem.model_validate(fault) for fault in faults if isinstance(fault, dict)]
        if isinstance(faults, list)
        else (),
    )
