"""A `multipart/form-data` body (RFC 7578), written in one piece."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

#: What a file name may not hold inside its quotes, as browsers write it (WHATWG HTML, "multipart/form-data").
_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


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
    boundary = secrets.token_hex(16)
    pieces: list[bytes] = []
    for part in parts:
        file_name = "" if part.file_name is None else f'; filename="{_quoted(part.file_name)}"'
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{_quoted(part.name)}"{file_name}\r\n'
            f"Content-Type: {part.media_type}\r\n\r\n"
        )
        pieces += (head.encode("utf-8", "replace"), part.content, b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"


def _quoted(text: str) -> str:
    return text.translate(_QUOTED)
