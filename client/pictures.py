"""Pictures and other files, from what a caller has to what a request carries."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from client.errors import RequestRefused
from client.models import File
from client.multipart import Part

#: A path, the bytes themselves, a stored file; or as a word a path, a stored file's id, or a URL, which the
#: service fetches where it is allowed to.
Picture = str | Path | bytes | File
#: What a picture is, in an input.
Named = Path | bytes | File | Mapping[str, str]

_FILE_ID = re.compile(r"[0-9a-f]{64}")


class Parts:
    """The files of one multipart request; the same content is sent once."""

    def __init__(self) -> None:
        # By content: a dictionary hashes faster than any digest, and tells equal bytes for certain.
        self._parts: dict[bytes, Part] = {}
        #: Bytes of all contents.
        self.size = 0

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts.values())

    def __len__(self) -> int:
        return len(self._parts)

    def refer(self, picture: Path | bytes | File) -> dict[str, str]:
        """Return the ref that stands for a picture in a job's input.

        Raises:
            RequestRefused: the path cannot be read.
        """
        if isinstance(picture, File):
            return {"file": picture.id}
        name, content, media_type = read_picture(picture)
        part = self._parts.get(content)
        if part is None:
            part = Part(f"file-{len(self._parts)}", name, content, media_type)
            self._parts[content] = part
            self.size += len(content)
        return {"part": part.name}

    def cut(self, count: int) -> None:
        """Forget all but the first `count`."""
        while len(self._parts) > count:
            content, _ = self._parts.popitem()
            self.size -= len(content)


def is_url(word: str) -> bool:
    """Return whether a word names something on the net, and no path."""
    return word.lower().startswith(("https://", "http://"))


def named(picture: Picture) -> Named:
    """Return the picture that a string names: a URL, a stored file's id, or else a path."""
    if isinstance(picture, str):
        if is_url(picture):
            return {"url": picture}
        return File(id=picture) if _FILE_ID.fullmatch(picture) else Path(picture)
    return picture


def read_picture(picture: str | Path | bytes) -> tuple[str, bytes, str]:
    """Return a file name, the content and its media type.

    Raises:
        RequestRefused: the path cannot be read.
    """
    if isinstance(picture, bytes):
        return "upload", picture, "application/octet-stream"
    path = Path(picture)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestRefused(f"cannot read {path}: {error.strerror}", code="unreadable_file") from error
    return path.name, content, mimetypes.guess_type(path.name)[0] or "application/octet-stream"
