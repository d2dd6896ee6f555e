"""A `multipart/form-data` body (RFC 7578), written in one piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form."""

    name: str
    #: None: a plain field, no file.
    file_name: str | None
    content: bytes
    media_type: str


def encode(parts: Iterable[Part]) -> tuple[bytes, str]:
    """Return the body and its `Content-Type`."""
    files = [(part.name, (part.file_name, part.content, part.media_type)) for part in parts]
    request = httpx.Request("POST", "http://service", files=files)
    return request.read(), request.headers["Content-Type"]
