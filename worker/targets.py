"""Where this worker may call out to: the one place that decides it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

from shared.addresses import Endpoint, endpoint_of, is_public
from shared.errors import UrlRefused, WebhookRefused
from shared.settings import WEB_PORTS

#: Names that wait for the system's answer at once. Half of what asks at all; the rest is told to come again.
_MOST_QUESTIONS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint whose addresses were checked: connect to those, and resolve nothing again."""

    endpoint: Endpoint
    #: In the resolver's order; at least one.
    addresses: Sequence[str]


def resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses in the system's order of preference.

    Raises:
        OSError: it has none, or nobody could be asked.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # Without repetition, in order. A scope (`%eth0`) belongs to local addresses only.
    return list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))


class Resolver:
    """`resolve` with a limit of time, which the system's own does not have."""

    def __init__(self, patience: timedelta, ask: Callable[[str, int], list[str]] = resolve) -> None:
        """Take how long an answer may take, and whom to ask."""
        self._seconds = patience.total_seconds()
        self._ask = ask
        self._places = threading.BoundedSemaphore(_MOST_QUESTIONS)

    def __call__(self, host: str, port: int) -> list[str]:
        """Return what `resolve` does.

        Raises:
            OSError: it has none, or nobody answered in time.
        """
        if not self._places.acquire(blocking=False):
            raise TimeoutError("too many names wait for their addresses")
        answer: Future[list[str]] = Future()
        # Nobody can stop it: one that hangs for ever must not keep the process from its end.
        threading.Thread(target=self._answer, args=(host, port, answer), name="resolver", daemon=True).start()
        try:
            return answer.result(self._seconds)
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {self._seconds:g} s") from error

    def _answer(self, host: str, port: int, answer: Future[list[str]]) -> None:
        try:
            answer.set_result(self._ask(host, port))
        except Exception as error:  # noqa: BLE001  # whoever asked is told
            answer.set_exception(error)
        finally:
            self._places.release()


class Targets:
    """Decides where messages may go, and pictures may come from."""

    def __init__(
        self,
        *,
        private: bool,
        ports: Collection[int] = WEB_PORTS,
        resolver: Callable[[str, int], list[str]] = resolve,
        refusal: type[WebhookRefused | UrlRefused] = WebhookRefused,
    ) -> None:
        """Take the rules.

        Args:
            private: allow this machine and private networks too, at any port: for tests, and networks without
                a world.
            ports: those allowed in the world.
            resolver: `resolve`, a `Resolver`, or what a test has in its place.
            refusal: what is raised.
        """
        self._private = private
        self._ports = ports
        self._resolver = resolver
        self._refusal = refusal

    def find(self, url: str) -> Target:
        """Return where a URL leads.

        Raises:
            WebhookRefused, UrlRefused: nothing may be sent there.
            OSError: its host cannot be resolved.
        """
        try:
            endpoint = endpoint_of(url, private=self._private, ports=self._ports)
        except ValueError as error:
            raise self._refusal(str(error)) from error
        addresses = self._resolver(endpoint.host, endpoint.port)
        # One that is not the world's is one too many: a name that has both is made to be tried until it fits.
        if not self._private and not all(is_public(ip_address(address)) for address in addresses):
            raise self._refusal(f"{endpoint.host} leads to an address that is not of the public internet")
        return Target(endpoint, addresses)
