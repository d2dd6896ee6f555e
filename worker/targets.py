"""Where a webhook may be sent: the one place that decides it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from shared.addresses import Endpoint, endpoint_of, is_public
from shared.errors import WebhookRefused


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


class Targets:
    """Decides where messages may go."""

    def __init__(self, *, private: bool, resolver: Callable[[str, int], list[str]] = resolve) -> None:
        """Take the rules.

        Args:
            private: allow this machine and private networks too: for tests, and networks without a world.
            resolver: `resolve`, or what a test has in its place.
        """
        self._private = private
        self._resolver = resolver

    def find(self, url: str) -> Target:
        """Return where a URL leads.

        Raises:
            WebhookRefused: nothing may be sent there.
            OSError: its host cannot be resolved.
        """
        try:
            endpoint = endpoint_of(url, private=self._private)
        except ValueError as error:
            raise WebhookRefused(str(error)) from error
        addresses = self._resolver(endpoint.host, endpoint.port)
        # One that is not the world's is one too many: a name that has both is made to be tried until it fits.
        if not self._private and not all(is_public(ip_address(address)) for address in addresses):
            raise WebhookRefused(f"{endpoint.host} leads to an address that is not of the public internet")
        return Target(endpoint, addresses)
