"""API keys: what one looks like, what it may do, and how it is recognised without being kept.

A key is `ik_<id>_<secret>`: the id names it in lists and logs, the secret is 256 random bits. Only a SHA-256
of the whole is stored; with that much randomness a slow hash would guard nothing more.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from shared.jobs import TenantId

#: The part of a key that is no secret.
KeyId = NewType("KeyId", str)

_KEY = re.compile(r"ik_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SECRET_BYTES = 32


class Scope(StrEnum):
    """What a key may do."""

    #: Send jobs and files, cancel, retry and delete them, keep webhooks.
    SUBMIT = "submit"
    #: Look at jobs, files and webhooks, and fetch what jobs made.
    READ = "read"
    #: See what is not one tenant's: the workers, and the metrics of the whole service.
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What is known of a key; never the key. Times are aware, UTC."""

    id: KeyId
    tenant: TenantId
    #: For people: who holds it.
    name: str
    scopes: Collection[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    #: Neither revoked nor expired, on the database's clock.
    is_good: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey:
    """A key that was just made: the one moment in which it is known."""

    id: KeyId
    #: To be given to its holder.
    token: str
    #: To be stored.
    hash: str


def new_key() -> NewKey:
    """Return a new random key."""
    key_id = KeyId(secrets.token_hex(8))
    token = f"ik_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return NewKey(id=key_id, token=token, hash=hash_of(token))


def id_in(token: str) -> KeyId | None:
    """Return the id in a key; None: it does not look like one."""
    found = _KEY.fullmatch(token)
    return None if found is None else KeyId(found[1])


def hash_of(token: str) -> str:
    """Return what is kept of a key, 64 hex digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_same(kept: str, token: str) -> bool:
    """Return whether a key is the one of which this was kept, in a time that tells nothing."""
    return hmac.compare_digest(kept, hash_of(token))


def tenant_named(name: str) -> TenantId:
    """Return a tenant of this name.

    Raises:
        ValueError: no tenant can be called so.
    """
    if not _TENANT.fullmatch(name):
        raise ValueError(
            "a tenant is named by 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit; "
            f"{name[:100]!r} is not"
        )
    return TenantId(name)
