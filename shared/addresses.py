"""Where the service may call out to: what a URL must be, and which addresses are the world's.

One guard for webhooks and for inputs by URL. The API asks it about a URL's words; the worker once more, and
about every address that the host's name leads to, before it connects to one of these.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from AntiSSRF import IPAddressRanges

from shared.settings import WEB_PORTS

LONGEST_URL = 2048

_PORTS = {"http": 80, "https": 443}
#: Of protocols themselves, not of hosts; not every Python knows it (RFC 6890, RFC 3068).
_ASSIGNED = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
#: Of the world's IPv6 addresses, those that carry an IPv4 address to somewhere else: Teredo, 6to4.
_TUNNELS = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
#: Global unicast, RFC 4291; what lies outside is local, a group's, or carries an IPv4 address.
_UNICAST = IPv6Network("2000::/3")
#: Labels of 1 to 63 letters; a name may end in a dot. `_` is in no host's name, and in use.
_NAME = re.compile(r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)
#: An IPv6 address and a port, with nothing between: readers ignore what stands there, or do not.
_BRACKETED = re.compile(r"\[[^\[\]]*\](:[0-9]*)?")
#: A name that ends so is read as an IPv4 address by some, and by nobody in the same way.
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The parts of a URL that say where a connection goes, and what is asked for there."""

    scheme: str
    #: In lower case; an IPv6 address without brackets.
    host: str
    port: int
    #: Path and query.
    target: str

    @property
    def authority(self) -> str:
        """Return what the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def endpoint_of(url: str, *, private: bool, ports: Collection[int] = WEB_PORTS) -> Endpoint:
    """Return where a URL leads.

    Args:
        private: the service's own networks are allowed, at any port.
        ports: those allowed in the world.

    Raises:
        ValueError: nothing may be sent to it, in words for whoever gave it.
    """
    endpoint = _parts(url)
    if private:
        return endpoint
    literal = _literal(endpoint.host)
    if literal is not None and not is_public(literal):
        raise ValueError(f"{endpoint.host} is no address of the public internet")
    if _is_localhost(endpoint.host):
        raise ValueError(f"{endpoint.host} is this machine's name for itself")
    if endpoint.port not in ports:
        allowed = ", ".join(map(str, sorted(ports)))
        raise ValueError(f"the URL leads to port {endpoint.port}; allowed are {allowed}")
    return endpoint


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is one host's in the public internet."""
    if any(address in block for block in _listed()[address.version]):
        return False
    if isinstance(address, IPv6Address):
        if not address.is_global or address not in _UNICAST:
            return False
        return not any(address in tunnel for tunnel in _TUNNELS)
    if not address.is_global or address.is_multicast:
        return False
    return not any(address in block for block in _ASSIGNED)


def masked_url(url: str) -> str:
    """Return the part of a URL that everybody may read: paths and queries hold keys."""
    try:
        endpoint = _parts(url)
    except ValueError:
        return "the URL"
    shown = f"{endpoint.scheme}://{endpoint.authority}/"
    return shown if endpoint.target == "/" else f"{shown}..."


def _parts(url: str) -> Endpoint:
    """Return a URL's parts; raises `ValueError` where two readers could disagree on what they are."""
    if len(url) > LONGEST_URL:
        raise ValueError(f"the URL has {len(url):,} characters; the limit is {LONGEST_URL:,}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("the URL must be written in printable ASCII, anything else as %XX or xn--")
    if "\\" in url:
        raise ValueError("the URL must not hold a backslash; write / or %5C")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"this is no URL: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("the URL must begin with https:// or http://, and name a host")
    if "@" in parts.netloc:
        raise ValueError("the URL must not hold a user name or a password")
    if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc):
        raise ValueError("the URL must hold nothing between an IPv6 address in brackets and its port")
    if port == 0:
        raise ValueError("the URL leads to port 0, where nobody listens")
    query = f"?{parts.query}" if parts.query else ""
    return Endpoint(
        scheme=parts.scheme,
        host=_host(parts.hostname, is_bracketed="[" in parts.netloc),
        port=port or _PORTS[parts.scheme],
        target=f"{parts.path or '/'}{query}",
    )


def _host(host: str, *, is_bracketed: bool) -> str:
    """Return a host that means the same to everybody: a name, or an address in its plainest form."""
    if is_bracketed:
        literal = _literal(host)
        # With a zone, `fe80::1%eth0`, it is one of a network of this very machine.
        if not isinstance(literal, IPv6Address) or literal.scope_id is not None:
            raise ValueError(f"[{host}] is no IPv6 address that means the same everywhere")
        return str(literal)
    if not _NAME.fullmatch(host):
        raise ValueError("the URL's host must be a name of letters, digits, hyphens and dots, or an address")
    if not _NUMBER.fullmatch(host):
        return host
    try:
        return str(IPv4Address(host.removesuffix(".")))
    except ValueError as error:
        raise ValueError(_spelled(host)) from error


def _spelled(host: str) -> str:
    """Return how an IPv4 address is to be written that some would read from a host's name."""
    try:
        # Every resolver reads `127.1` and `0x7f000001` as one too.
        read = IPv4Address(socket.inet_aton(host.removesuffix(".")))
    except OSError:
        return f"{host} is neither a name nor an address"
    return f"{host} is an unusual spelling of an address; write {read}"


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_localhost(host: str) -> bool:
    return host.removesuffix(".").rpartition(".")[2] == "localhost"


@cache
def _listed() -> dict[int, list[IPv4Network | IPv6Network]]:
    """Return the blocks of a list that is kept for this purpose, by version of IP."""
    blocks = [ip_network(block) for block in IPAddressRanges.recommended_latest]
    return {version: [block for block in blocks if block.version == version] for version in (4, 6)}
