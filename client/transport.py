"""Requests to a service: what is sent, when it is sent again, and failures in the client's own words."""

from __future__ import annotations

import ipaddress
import random
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence

import httpx

from client.answers import failure, retry_after_s
from client.errors import RequestRefused, ServiceUnreachable
from client.flows import Flow, Open, Pause, Send

#: An address that does not answer at all is reported within this, whatever the caller's timeout.
_CONNECT_S = 5.0
#: Pauses before the second and the third try, give or take a half.
_PAUSES_S = (0.2, 0.8)
#: As many connections as are asked with at a time; the service closes those that are idle.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=128)
#: The longest `Retry-After` that is obeyed in silence; a submit obeys what its time allows.
_PATIENCE_S = 5.0
#: Between two tries of a submit, at most, unless the service asks for more.
_LONGEST_PAUSE_S = 5.0
#: Statuses of what may be answered better later. A submit is also sent again when a proxy has lost the
#: service, whatever became of it, and when a disk is full.
_LATER = frozenset({429, 503})
_SUBMIT_LATER = _LATER | {502, 504, 507}


Body = tuple[bytes | httpx.SyncByteStream, str]


class Transport:
    """How one service is spoken to, whoever holds the connections. Safe to share among threads."""

    def __init__(
        self, base_url: str, *, timeout: float, api_key: str | None, retry_for: float = 30.0
    ) -> None:
        url = _checked(base_url)
        self.base_url = str(url).rstrip("/")
        #: This machine's services need no proxy of the environment.
        self.trusts_environment = not _is_loopback(url.host)
        self._headers = {"Accept": "*/*", "User-Agent": "iconotext"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = timeout
        self._retry_for = retry_for
        #: The service has answered before: that it is there is not in question.
        self.was_reached = False

    def submit(self, path: str, body: Body, *, hold: int = 0, key: str | None = None) -> Flow[httpx.Response]:
        """Return the answer to a submit, which creates its jobs once, however often it has to be sent.

        Args:
            hold: seconds that the service is asked to wait for the end of the job.
            key: the caller's own; None: a new one.

        Raises:
            RequestRefused, ServiceUnreachable: as `request`.
        """
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        if hold:
            headers["Prefer"] = f"wait={hold}"
        return self.request("POST", path, headers=headers, body=body, wait=hold, once=True)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        wait: float = 0.0,
        accept: Sequence[int] = (),
        accept_again: Sequence[int] = (),
        tried_again: bool = True,
        repeatable: bool = False,
        once: bool = False,
        is_open: bool = False,
        silence: float = 0.0,
    ) -> Flow[httpx.Response]:
        """Return the answer, which is a success or one of the statuses in `accept`.

        Tried again, briefly, when that does no harm: no connection, 429 and 503, or a GET that broke off.

        Args:
            body: what is sent, and its `Content-Type`.
            wait: seconds that the service was asked to hold its answer back.
            accept_again: what is a success too once an earlier try broke off, which may have done it.
            tried_again: False for a probe, which wants to know how it is now.
            repeatable: it changes nothing, as a GET does, or nothing more the second time.
            once: it changes something once, however often it is sent: tried again for as long as the client
                is to, at a service that has answered before.
            is_open: its body is listened to, piece by piece.
            silence: seconds that may pass between two pieces, where that is more than the client's time-out.

        Raises:
            RequestRefused: the service said no.
            ServiceUnreachable: no answer, or one that says that the service is broken.
        """
        answer_s = max(self._timeout + wait, silence)
        request = self._request(method, path, params=params, headers=headers, body=body, answer_s=answer_s)
        step = Open(request) if is_open else Send(request)
        tries = _Tries(self._retry_for if once else 0.0, _PAUSES_S if tried_again else ())
        accepted = set(accept)
        while True:
            try:
                response: httpx.Response = yield step
            except httpx.TransportError as error:
                pause = self._pause_after(error, tries, harmless=once or repeatable or method == "GET")
                if pause is None:
                    raise self._unreachable(request, error) from error
                accepted |= set(accept_again)
            else:
                self.was_reached = True
                if response.is_success or response.status_code in accepted:
                    return response
                pause = self._pause_asked_for(response, tries)
                if pause is None:
                    raise failure(response, self.base_url)
            yield Pause(pause)

    def delete(self, path: str) -> Flow[None]:
        """Return when what is behind a path is gone.

        Raises:
            NotFound: it was not there to begin with.
        """
        # A second try that finds nothing was preceded by a first that got through.
        gone = [httpx.codes.NOT_FOUND]
        yield from self.request("DELETE", path, repeatable=True, accept_again=gone)

    def path_of(self, href: str) -> str:
        """Return the path behind a link that the service gave.

        Raises:
            RequestRefused: it leads elsewhere, where our key has no business.
        """
        path = href.removeprefix(self.base_url)
        if not path.startswith("/") or path.startswith("//"):
            raise RequestRefused(f"{href!r} is no link of {self.base_url}", code="foreign_link")
        return path

    def _pause_after(self, error: httpx.TransportError, tries: _Tries, *, harmless: bool) -> float | None:
        """Return how long to wait before another try after no answer; None when there is none."""
        if tries.are_patient and self.was_reached:
            return tries.patiently()
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return tries.briefly()
        # Reading again does no harm. Whether anything else got through is unknown.
        return tries.briefly() if harmless and not isinstance(error, httpx.TimeoutException) else None

    def _pause_asked_for(self, response: httpx.Response, tries: _Tries) -> float | None:
        """Return how long to wait before another try after no success; None when there is none."""
        if response.status_code not in (_SUBMIT_LATER if tries.are_patient else _LATER):
            return None
        asked_s = _retry_after(response)
        if tries.are_patient:
            return tries.patiently(asked_s)
        return tries.briefly(asked_s) if asked_s <= _PATIENCE_S else None

    def _unreachable(self, request: httpx.Request, error: httpx.TransportError) -> ServiceUnreachable:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ServiceUnreachable(
                f"nothing answers at {self.base_url}; start the service with `iconotext up`, "
                "or name another with --url or ICONOTEXT_URL"
            )
        return ServiceUnreachable(
            f"{self.base_url} broke off during {request.method} {request.url.path} "
            f"({type(error).__name__}); try again"
        )

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Sequence[tuple[str, str]],
        headers: Mapping[str, str] | None,
        body: Body | None,
        answer_s: float,
    ) -> httpx.Request:
        url = httpx.URL(self.base_url + path)
        url = url.copy_with(params=list(params)) if params else url
        content, media_type = body or (None, "")
        # Said here, since httpx says it only of bodies that it holds.
        sent = {"Host": url.netloc.decode(), **self._headers, **(headers or {})}
        if media_type:
            sent["Content-Type"] = media_type
        connect_s = min(self._timeout, _CONNECT_S)
        limits = {"connect": connect_s, "read": answer_s, "write": answer_s, "pool": answer_s}
        stream = content if isinstance(content, httpx.SyncByteStream) else None
        return httpx.Request(
            method,
            url,
            headers=sent,
            content=content if isinstance(content, bytes) else None,
            stream=stream,
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


def _retry_after(response: httpx.Response) -> float:
    return retry_after_s(response) or 0.0


def _spread(pause_s: float) -> float:
    # Many clients lose their service at once, and should not all come back at once.
    return pause_s * random.uniform(0.5, 1.5)  # noqa: S311  # spreads load


class _Tries:
    """How often one request is sent again, and when."""

    def __init__(self, patience_s: float, pauses: Iterable[float]) -> None:
        #: It may be sent again until that much time has passed since it first failed.
        self.are_patient = patience_s > 0
        self._patience_s = patience_s
        self._brief = iter(pauses)
        self._growing_s = _PAUSES_S[0]
        self._until: float | None = None

    def briefly(self, asked_s: float = 0.0) -> float | None:
        """Return the pause before the next of a few tries; None after the last."""
        pause = next(self._brief, None)
        return None if pause is None else asked_s + _spread(pause)

    def patiently(self, asked_s: float = 0.0) -> float | None:
        """Return the pause before the next try, each longer than the one before; None when time is up."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._patience_s
        pause = asked_s + _spread(self._growing_s)
        self._growing_s = min(2 * self._growing_s, _LONGEST_PAUSE_S)
        return pause if now + pause <= self._until else None
