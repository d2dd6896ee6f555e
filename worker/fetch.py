"""One picture or film from somebody else's server, which may be slow, broken or hostile."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Literal
from urllib.parse import urljoin, urlsplit

import httpcore

from shared.addresses import masked_url
from shared.errors import FileTooLarge, UrlRefused, UrlUnreachable
from shared.settings import Limits
from worker.lines import FAILURES, Line, request_url
from worker.targets import Target, Targets

Kind = Literal["image", "video"]

_MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
#: By these, and by all from 500 on, a server says that it may do better later; by the rest, that it will not.
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, slots=True)
class _Terms:
    """How large something may be, and how long it may take, redirects and names included."""

    most_bytes: int
    seconds: float


class Fetcher:
    """Fetches; any number of threads may call."""

    def __init__(
        self,
        targets: Targets,
        tls: ssl.SSLContext,
        limits: Limits,
        *,
        image_time: timedelta,
        film_time: timedelta,
    ) -> None:
        """Take the rules.

        Args:
            targets: where something may come from; refuses by `UrlRefused`.
            tls: whom to trust.
            limits: of files.
            image_time: for all of one picture, however slowly its bytes come.
            film_time: and of one film.
        """
        self._targets = targets
        self._tls = tls
        self._terms: dict[Kind, _Terms] = {
            "image": _Terms(limits.file_bytes, image_time.total_seconds()),
            "video": _Terms(limits.video_bytes, film_time.total_seconds()),
        }

    def most_bytes(self, kind: Kind) -> int:
        """Return the size that nothing fetched exceeds."""
        return self._terms[kind].most_bytes

    def fetch(
        self, kind: Kind, url: str, write: Callable[[bytes], object], check: Callable[[], None]
    ) -> None:
        """Have what a URL names written, piece by piece.

        Args:
            write: takes the next piece; what it raises ends the connection.
            check: called a few times a second while nothing comes; what it raises ends the connection.

        Raises:
            UrlRefused: it may not be fetched, or it is not to be had there.
            UrlUnreachable: another time it may be.
            FileTooLarge: it is larger than a file may be.
        """
        terms = self._terms[kind]
        deadline = time.monotonic() + terms.seconds
        for _ in range(_MOST_REDIRECTS + 1):
            with _blamed_on(url):
                line = Line(self._find(url), deadline, check)
                following = self._get(kind, url, line, _Tap(write, terms.most_bytes))
            if following is None:
                return
            url = following
        raise UrlRefused(f"{masked_url(url)}: more than {_MOST_REDIRECTS} redirects led there")

    def _find(self, url: str) -> Target:
        try:
            return self._targets.find(url)
        except OSError as error:
            raise UrlUnreachable(f"its address cannot be found: {error.strerror or error}") from error

    def _get(self, kind: Kind, url: str, line: Line, tap: _Tap) -> str | None:
        """Have it written; or return the URL that its server names instead."""
        endpoint = line.target.endpoint
        headers = {
            "host": endpoint.authority,
            "accept": f"{kind}/*",
            # Unpacked, a small answer may be of any size.
            "accept-encoding": "identity",
            "user-agent": "iconotext",
        }
        with (
            httpcore.ConnectionPool(ssl_context=self._tls, network_backend=line) as pool,
            pool.stream("GET", request_url(endpoint), headers=list(headers.items())) as response,
        ):
            if response.status in _REDIRECTS:
                return _led_to(url, response)
            _require_content(response)
            for piece in response.iter_stream():
                tap.take(piece)
        return None


class _Tap:
    """Lets so many bytes through."""

    def __init__(self, write: Callable[[bytes], object], most: int) -> None:
        self._write = write
        self._most = most
        self._taken = 0

    def take(self, piece: bytes) -> None:
        self._taken += len(piece)
        if self._taken > self._most:
            raise FileTooLarge(f"the file is larger than the limit of {self._most:,} bytes")
        self._write(piece)


@contextmanager
def _blamed_on(url: str) -> Iterator[None]:
    """Name the server, and no more of its URL, in whatever goes wrong with it."""
    shown = masked_url(url)
    try:
        yield
    except (UrlRefused, UrlUnreachable, FileTooLarge) as error:
        raise type(error)(f"{shown}: {error.message}") from error
    except httpcore.TimeoutException as error:
        raise UrlUnreachable(f"{shown}: it did not come in time") from error
    except FAILURES as error:
        raise UrlUnreachable(f"{shown}: the connection failed: {error or type(error).__name__}") from error


def _led_to(url: str, response: httpcore.Response) -> str:
    """Return the URL that a redirect names.

    Raises:
        UrlRefused: it names none, or one whose answer anybody between could have written.
    """
    locations = _values(response, b"location")
    try:
        following = urljoin(url, locations[0])
    except (IndexError, ValueError) as error:
        raise UrlRefused(f"the server answers {response.status} and does not say where it is") from error
    if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
        raise UrlRefused("the server leads away from https")
    return following


def _require_content(response: httpcore.Response) -> None:
    status = response.status
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise UrlUnreachable(f"the server answers {status}")
    if status != HTTPStatus.OK:
        raise UrlRefused(f"the server answers {status}")
    if any(value.strip().lower() not in ("", "identity") for value in _values(response, b"content-encoding")):
        raise UrlRefused("the server sends it compressed, though asked not to")


def _values(response: httpcore.Response, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in response.headers if key.lower() == name]
