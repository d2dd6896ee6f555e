"""Whose request it is, what it may do, and who may reach us at all."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import structlog
from flask import Flask, g, request

from api.errors import Refused
from api.scopes import SCOPES
from api.settings import ApiSettings
from shared.errors import BadConfiguration, Forbidden, Unauthorized
from shared.jobs import LOCAL, TenantId
from shared.keys import Key, KeyId, Scope, id_in, is_same

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_EVERYTHING = frozenset(Scope)

#: For so long, in seconds, a key is believed to be what it was: a revoked one is refused within a second.
_BELIEVED_S = 0.5
#: Keys that are remembered; each is asked for again anyhow.
_REMEMBERED = 10_000
_HOW = "send `Authorization: Bearer ik_...`; `iconotext keys create` makes a key"

FindKey = Callable[[KeyId], tuple[Key, str] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who sent the present request."""

    tenant: TenantId
    #: None: it came without one, which only this machine may.
    key: KeyId | None
    scopes: Collection[Scope]


_THIS_MACHINE = Caller(tenant=LOCAL, key=None, scopes=_EVERYTHING)


def tenant() -> TenantId:
    """Return the tenant of the present request: without keys, everything is `LOCAL`."""
    return caller().tenant


def caller() -> Caller:
    """Return who sent the present request; raises `Unauthorized` when nobody was recognised."""
    found: Caller | None = g.get("caller")
    if found is None:
        raise Unauthorized(f"this needs a key: {_HOW}")
    return found


def recheck() -> Callable[[], object]:
    """Return what raises `Unauthorized` once the key of the present request is good no longer.

    For whoever waits: what comes after a revocation is no longer theirs.
    """
    check: Callable[[], object] = g.recheck
    return check


def require_safe_bind(settings: ApiSettings) -> None:
    """Refuse to serve the network without asking for keys.

    Raises:
        BadConfiguration: the address is not loopback, and nobody allowed that.
    """
    if not is_loopback(settings.api_host) and not (needs_keys(settings) or settings.allow_unauthenticated):
        raise BadConfiguration(
            f"cannot start: ICONOTEXT_API_HOST={settings.api_host} is reachable from other machines, and "
            "ICONOTEXT_REQUIRE_KEYS=false asks nobody for a key; leave it out, use 127.0.0.1, or put a proxy "
            "that checks callers in front and set ICONOTEXT_ALLOW_UNAUTHENTICATED=true"
        )


def needs_keys(settings: ApiSettings) -> bool:
    """Return whether every caller must have a key: unless said otherwise, where other machines reach us."""
    if settings.require_keys is not None:
        return settings.require_keys
    return not is_loopback(settings.api_host) and not settings.allow_unauthenticated


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Doorkeeper:
    """Recognises keys. Thread-safe."""

    def __init__(
        self, find_key: FindKey, *, needs_keys: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take whom to ask.

        Args:
            find_key: `JobStore.find_key`.
            needs_keys: whether whoever has none is refused; else it is this machine's user.
            clock: seconds.
        """
        self._find_key = find_key
        self._needs_keys = needs_keys
        self._clock = clock
        self._lock = threading.Lock()
        #: What was found last, and until when that holds; the one that was asked for last stands last.
        self._known: OrderedDict[KeyId, tuple[tuple[Key, str] | None, float]] = OrderedDict()

    def recognise(self, authorization: str | None) -> Caller:
        """Return who comes with this header.

        Raises:
            Unauthorized: there is no good key in it, and one is needed.
            StoreUnavailable: nobody can be asked.
        """
        if authorization is None:
            if self._needs_keys:
                raise Unauthorized(f"this needs a key: {_HOW}")
            return _THIS_MACHINE
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(f"keys come as Bearer: {_HOW}")
        key = self._key(token.strip())
        if key is None:
            raise Unauthorized("there is no such key, or it is revoked or has expired; ask for a new one")
        return Caller(tenant=key.tenant, key=key.id, scopes=frozenset(key.scopes))

    def _key(self, token: str) -> Key | None:
        key_id = id_in(token)
        found = None if key_id is None else self._find(key_id)
        if found is None:
            return None
        key, kept = found
        return key if is_same(kept, token) and key.is_good else None

    def _find(self, key_id: KeyId) -> tuple[Key, str] | None:
        with self._lock:
            found, until = self._known.get(key_id, (None, 0.0))
            if self._clock() < until:
                return found
        asked_at = self._clock()
        found = self._find_key(key_id)
        with self._lock:
            self._known[key_id] = found, asked_at + _BELIEVED_S
            self._known.move_to_end(key_id)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found


def guard(app: Flask, settings: ApiSettings, doorkeeper: Doorkeeper) -> None:
    """Let in who may come in, and refuse what a web page elsewhere could make a browser here send.

    Without keys, being able to reach us is the only right a caller has, and a browser lends it to every
    page: by a foreign name that resolves to loopback (DNS rebinding), or by a form that posts here.
    """
    names = settings.host_names | (_LOOPBACK_NAMES if is_loopback(settings.api_host) else frozenset())

    def check_caller() -> None:
        if "Host" not in request.headers and request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0":
            raise Refused("bad_request", "this request names no host; RFC 9112 asks for one")
        if names and _name(request.host) not in names:
            raise Refused("host_not_allowed", "not a name of this service; see ICONOTEXT_ALLOWED_HOSTS")
        origin = request.headers.get("Origin")
        if (
            request.method not in _SAFE_METHODS
            and origin is not None
            and origin.partition("://")[2] != request.host
        ):
            raise Refused("origin_not_allowed", "a page of another origin may not send this request")
        _recognise(doorkeeper)

    app.before_request(check_caller)


def _recognise(doorkeeper: Doorkeeper) -> None:
    """Set the caller of the present request, where its route is somebody's."""
    needed = SCOPES[request.endpoint] if request.endpoint is not None else None
    if needed is None:
        return
    if any(id_in(value) for values in request.args.lists() for value in values[1]):
        raise Refused("bad_request", f"a key in a URL ends up in logs: revoke it, and {_HOW}")
    sent = request.headers.get("Authorization")
    try:
        found = doorkeeper.recognise(sent)
    except Unauthorized:
        # The caller's word alone; but of a key that was stolen and revoked, a trail is all there will be.
        structlog.contextvars.bind_contextvars(**_claim(sent))
        raise
    g.caller, g.recheck = found, partial(doorkeeper.recognise, sent)
    structlog.contextvars.bind_contextvars(tenant=found.tenant, **({"key": found.key} if found.key else {}))
    if needed not in found.scopes:
        has = ", ".join(sorted(found.scopes)) or "none"
        raise Forbidden(f"this needs a key with the scope {needed}; yours has {has}")


def _claim(authorization: str | None) -> dict[str, KeyId]:
    """Return the id of the key that somebody says to have, if it looks like one, for the log."""
    key_id = id_in((authorization or "").strip().partition(" ")[2].strip())
    return {} if key_id is None else {"claimed_key": key_id}


def _name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "").lower()
