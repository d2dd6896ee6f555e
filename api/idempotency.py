"""The header `Idempotency-Key`: a submit that comes again with it is known."""

from __future__ import annotations

import hashlib
import json
import re

from flask import Request

from shared.errors import InvalidRequest
from shared.jobs import Json

HEADER = "Idempotency-Key"
#: Of an answer to a submit that came before.
REPLAYED = "Idempotent-Replayed"

_KEY = re.compile(r"[ -~]{1,255}")


def key_of(request: Request) -> str | None:
    """Return the caller's key, if there is one.

    Raises:
        InvalidRequest: it is empty, too long or not printable ASCII.
    """
    key = request.headers.get(HEADER)
    if key is None or _KEY.fullmatch(key):
        return key
    raise InvalidRequest(
        f"{HEADER} is one text of 1 to 255 printable ASCII characters, new for each new submit",
        pointer=f"/{HEADER}",
    )


def member_key(key: str | None, place: int) -> str | None:
    """Return the key of one submit of a batch that came with a key; no caller can name it."""
    return None if key is None else f"{key}\n{place}"


def fingerprint(said: Json) -> str:
    """Return the SHA-256 of what a submit says, in whatever order it says it."""
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
