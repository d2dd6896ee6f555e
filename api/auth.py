"""Whose request it is, and who may reach us at all."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, request

from api.errors import Refused
from api.settings import ApiSettings
from shared.errors import BadConfiguration
from shared.jobs import LOCAL, TenantId

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def tenant() -> TenantId:
    """Return the tenant of the present request: without keys, everything is `LOCAL`."""
    return LOCAL


def require_safe_bind(settings: ApiSettings) -> None:
    """Refuse to serve the network without keys.

    Raises:
        BadConfiguration: the address is not loopback, and nobody allowed that.
    """
    if not is_loopback(settings.api_host) and not settings.allow_unauthenticated:
        raise BadConfiguration(
            f"cannot start: ICONOTEXT_API_HOST={settings.api_host} is reachable from other machines, and "
            "there are no keys; use 127.0.0.1, or put a proxy that checks callers in front and set "
            "ICONOTEXT_ALLOW_UNAUTHENTICATED=true"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def guard(app: Flask, settings: ApiSettings) -> None:
    """Refuse what a web page elsewhere could make a browser on this machine send.

    Without keys, being able to reach us is the only right a caller has, and a browser lends it to every
    page: by a foreign name that resolves to loopback (DNS rebinding), or by a form that posts here.
    """
    names = settings.host_names | (_LOOPBACK_NAMES if is_loopback(settings.api_host) else frozenset())

    def check_caller() -> None:
        if names and _name(request.host) not in names:
            raise Refused("host_not_allowed", "not a name of this service; see ICONOTEXT_ALLOWED_HOSTS")
        origin = request.headers.get("Origin")
        if (
            request.method not in _SAFE_METHODS
            and origin is not None
            and origin.partition("://")[2] != request.host
        ):
            raise Refused("origin_not_allowed", "a page of another origin may not send this request")

    app.before_request(check_caller)


def _name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "").lower()
