"""Requests over HTTP, and their failures in the client's own words."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Mapping, Sequence

import httpx

from client.answers import failure
from client.errors import ServiceUnreachable

#: An address that does not answer at all is reported within this, whatever the caller's timeout.
_CONNECT_S = 5.0
#: Pauses before the second and the third try.
_PAUSES_S = (0.2, 0.8)
#: As many connections as threads ask at a time; the service closes those that are idle.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=128)
#: The longest `Retry-After` that is obeyed in silence.
_PATIENCE_S = 5.0


class Transport:
    """One service, spoken to over kept-alive connections. Safe to share among threads."""

    def __init__(
        self, base_url: str, *, timeout: float, api_key: str | None, transport: httpx.BaseTransport | None
    ) -> None:
        url = _checked(base_url)
        self.base_url = str(url).rstrip("/")
        self._headers = {"Accept": "*/*", "User-Agent": "iconotext"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = timeout
        #: The service has answered before: that it is there is not in question.
        self.was_reached = False
        # This machine's services need no proxy of the environment.
        self._http = httpx.Client(
            transport=transport, limits=_LIMITS, timeout=timeout, trust_env=not _is_loopback(url.host)
        )

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: tuple[bytes | Iterable[bytes], str] | None = None,
        wait: float = 0.0,
        accept: Sequence[int] = (),
        tried_again: bool = True,
        repeatable: bool = False,
    ) -> httpx.Response:
        """Return the answer, which is a success or one of the statuses in `accept`.

        Tried again, briefly, when that does no harm: no connection, 429 and 503, or a GET that broke off.

        Args:
            body: what is sent, or its pieces in turn, as often as they are asked for; and its `Content-Type`.
            wait: seconds that the service was asked to hold its answer back.
            tried_again: False for a probe, which wants to know how it is now.
            repeatable: it changes nothing, as a GET does.

        Raises:
            RequestRefused: the service said no.
            ServiceUnreachable: no answer, or one that says that the service is broken.
        """
        request = self._request(method, path, params=params, headers=headers, body=body, wait=wait)
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
                harmless = repeatable or method == "GET"
                if not harmless or pause is None or isinstance(error, httpx.TimeoutException):
                    raise ServiceUnreachable(
                        f"{self.base_url} broke off during {method} {path} "
                        f"({type(error).__name__}); try again"
                    ) from error
            else:
                self.was_reached = True
                if response.is_success or response.status_code in accept:
                    return response
                asked_s = _retry_after(response)
                if pause is None or asked_s is None or asked_s > _PATIENCE_S:
                    raise failure(response, self.base_url)
                time.sleep(asked_s)
            time.sleep(pause)
        raise AssertionError("the last try answers or raises")

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]],
        headers: Mapping[str, str] | None,
        body: tuple[bytes | Iterable[bytes], str] | None,
        wait: float,
    ) -> httpx.Request:
        content, media_type = body or (None, "")
        sent = {**self._headers, **(headers or {})}
        if media_type:
            sent["Content-Type"] = media_type
        answer_s, connect_s = self._timeout + wait, min(self._timeout, _CONNECT_S)
        limits = {"connect": connect_s, "read": answer_s, "write": answer_s, "pool": answer_s}
        return httpx.Request(
            method,
            self.base_url + path,
            params=list(params) or None,
            headers=sent,
            content=content,
            extensions={"timeout": limits},
        )


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
