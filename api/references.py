"""Refs to images: what each stands for, checked before anything is written, and then stored."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from api.errors import pointer
from api.images import Header, inspect
from api.services import Services
from shared.errors import FileMissing, FileTooLarge, InvalidRequest, NotFound, Problem
from shared.jobs import FileId, TenantId
from shared.schemas.base import FileRef, TaskInput, walk
from shared.settings import Limits

#: Where a value stands in an input.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A checked image that is not stored yet."""

    content: bytes
    header: Header


def resolve(
    task_input: TaskInput, parts: Mapping[str, BinaryIO], owner: TenantId, services: Services
) -> tuple[dict[Path, Picture | FileId], list[Problem]]:
    """Return what each ref stands for, by its path, and the faults of those that stand for nothing."""
    found: dict[Path, Picture | FileId] = {}
    problems: list[Problem] = []
    unused = set(parts)
    for path, value in walk(task_input):
        if not isinstance(value, FileRef):
            continue
        unused.discard(value.part or "")
        try:
            found[path] = _look_up(value, parts, owner, services)
        except InvalidRequest as error:
            way = next(name for name in ("file", "data", "part", "url") if getattr(value, name) is not None)
            problems.append(Problem(pointer(("input", *path, way)), error.message, error.code))
    problems += [Problem("", f"no ref of the input names the part {name[:100]!r}") for name in sorted(unused)]
    return found, problems


def stored(found: Picture | FileId, owner: TenantId, services: Services) -> FileId:
    """Return the id of what a ref stands for, storing a picture that is not stored yet."""
    if isinstance(found, Picture):
        return store_picture(found, owner, services)[0]
    return found


def picture(content: bytes, limits: Limits) -> Picture:
    """Return an image that passed the check of its size and its header.

    Raises:
        FileTooLarge, ImageRefused
    """
    if len(content) > limits.file_bytes:
        raise FileTooLarge(f"the file is larger than the limit of {limits.file_bytes:,} bytes")
    return Picture(content, inspect(content, limits))


def decode_base64(data: str, limits: Limits) -> bytes:
    """Return the bytes behind base64 of the standard alphabet, padded, without line breaks.

    Raises:
        FileTooLarge: without decoding it.
        InvalidRequest: it is not base64.
    """
    if len(data) // 4 * 3 > limits.file_bytes + 2:
        raise FileTooLarge(f"the file is larger than the limit of {limits.file_bytes:,} bytes")
    if data.startswith("data:"):
        raise InvalidRequest("give the base64 alone, without the `data:...;base64,` before it")
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:
        reason = str(error).rpartition(": ")[2]
        raise InvalidRequest(f"not base64 (RFC 4648, standard alphabet, padded): {reason}") from error


def store_picture(found: Picture, owner: TenantId, services: Services) -> tuple[FileId, bool]:
    """Store an image, the bytes before the row that owns them; return its id, and whether it is new."""
    file = services.blobs.put(found.content)
    is_new = services.store.add_file(
        owner,
        file,
        media_type=found.header.media_type,
        size=len(found.content),
        width=found.header.width,
        height=found.header.height,
    )
    return file, is_new


def _look_up(
    ref: FileRef, parts: Mapping[str, BinaryIO], owner: TenantId, services: Services
) -> Picture | FileId:
    limits = services.settings.limits
    if ref.file is not None:
        return _known_image(FileId(ref.file), owner, services)
    if ref.data is not None:
        return picture(decode_base64(ref.data, limits), limits)
    if ref.part is None:
        raise InvalidRequest("fetching by URL is off; send the bytes, or upload them to /v1/files first")
    if ref.part not in parts:
        raise InvalidRequest(f"this request has no part {ref.part[:100]!r}")
    part = parts[ref.part]
    # Two refs may name one part.
    part.seek(0)
    return picture(part.read(limits.file_bytes + 1), limits)


def _known_image(file: FileId, owner: TenantId, services: Services) -> FileId:
    try:
        stored = services.store.get_file(owner, file)
    except NotFound as error:
        raise FileMissing("there is no such file; upload it to /v1/files first") from error
    if not stored.media_type.startswith("image/"):
        raise InvalidRequest(f"this file is {stored.media_type}; an image is needed here")
    return file
