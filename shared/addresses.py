"""Where the service may call out to: what a webhook's URL must be, and which addresses are the world's."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

LONGEST_URL = 2048

_PORTS = {"http": 80, "https": 443}
#: Of protocols themselves, not of hosts; not every Python knows it (RFC 6890, RFC 3068).
_ASSIGNED = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
#: Of the world's IPv6 addresses, those that carry an IPv4 address to somewhere else: Teredo, 6to4.
_TUNNELS = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
#: Global unicast, RFC 4291; what lies outside is local, a group's, or carries an IPv4 address.
_UNICAST = IPv6Network("2000::/3")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The parts of a URL that say where a connection goes."""

    scheme: str
    host: str
    port: int


def endpoint_of(url: str, *, private: bool) -> Endpoint:
    """Return where a webhook's URL leads.

    Args:
        private: the service's own network is allowed.

    Raises:
        ValueError: nothing may be sent to it, in words for whoever gave it.
    """
    if len(url) > LONGEST_URL:
        raise ValueError(f"the URL has {len(url):,} characters; the limit is {LONGEST_URL:,}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("the URL must be written in printable ASCII, anything else as %XX or xn--")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"this is no URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("the URL must begin with https:// or http://, and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL must not hold a user name or a password")
    literal = _literal(parts.hostname.removesuffix("."))
    if literal is not None and not private and not is_public(literal):
        raise ValueError(f"{parts.hostname} is no address of the public internet")
    return Endpoint(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is one host's in the public internet."""
    if isinstance(address, IPv6Address):
        if not address.is_global or address not in _UNICAST:
            return False
        return not any(address in tunnel for tunnel in _TUNNELS)
    if not address.is_global or address.is_multicast:
        return False
    return not any(address in block for block in _ASSIGNED)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host name is; every resolver reads `127.1` and `0x7f000001` as one too."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
