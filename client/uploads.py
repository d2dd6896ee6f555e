"""Files that are too large to travel inside a submit: stored first, then named in it."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from client.answers import read
from client.errors import RequestRefused
from client.flows import Flow
from client.models import File
from client.transport import Transport

#: From here on a file is stored first. The service takes images of 20 MB, and bodies of 32.
_LARGE_BYTES = 8 * 2**20
_CHUNK_BYTES = 2**18
_UNKNOWN = "application/octet-stream"


class Uploads:
    """Stores files at one service."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, content: Path | bytes) -> Flow[File]:
        """Store a file and return it; a path is read piece by piece.

        Raises:
            RequestRefused: the path cannot be read, or the service does not take the file.
        """
        if isinstance(content, bytes):
            return (yield from self._send(content, len(content), _UNKNOWN))
        size = _size_of(content)
        media_type = mimetypes.guess_type(content.name)[0] or _UNKNOWN
        known = media_type.startswith(("image/", "video/"))
        return (yield from self._send(_Pieces(content), size, media_type if known else _UNKNOWN))

    def lifted(self, value: Any) -> Flow[Any]:
        """Return an input, each path to a large file in it replaced by the stored file."""
        if isinstance(value, Path):
            return (yield from self.send(value)) if _size_of(value) > _LARGE_BYTES else value
        if isinstance(value, Mapping):
            lifted = {}
            for name, member in value.items():
                lifted[name] = yield from self.lifted(member)
            return lifted
        if isinstance(value, (list, tuple)):
            members = []
            for member in value:
                members.append((yield from self.lifted(member)))  # noqa: PERF401  # no comprehension yields
            return members
        return value

    def _send(self, content: bytes | _Pieces, size: int, media_type: str) -> Flow[File]:
        # What is named by its content is stored once, however often it is sent.
        answer = yield from self._transport.request(
            "POST",
            "/v1/files",
            headers={"Content-Length": str(size)},
            body=(content, media_type),
            repeatable=True,
        )
        return read(File, answer)


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A file's content, from its beginning each time that it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as source:
            while piece := source.read(_CHUNK_BYTES):
                yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with await asyncio.to_thread(self._path.open, "rb") as source:
            while piece := await asyncio.to_thread(source.read, _CHUNK_BYTES):
                yield piece


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise RequestRefused(f"cannot read {path}: {error.strerror}", code="unreadable_file") from error
