"""Refs to images: what each stands for, checked before anything is written, and then stored."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from api.errors import pointer
from api.images import Header, inspect
from api.services import Services
from shared.errors import FileMissing, FileTooLarge, InvalidRequest, NotFound, Problem
from shared.jobs import FileId, NewFile, TenantId
from shared.schemas.base import FileRef, TaskInput, walk
from shared.settings import Limits

#: Where a value stands in an input.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A checked image that is not stored yet."""

    content: bytes
    header: Header


Found = Picture | FileId


class Desk:
    """What the refs of one request stand for; whatever several refs name is looked up once."""

    def __init__(self, parts: Mapping[str, bytes], owner: TenantId, services: Services) -> None:
        self._parts = parts
        self._owner = owner
        self._services = services
        self._limits = services.settings.limits
        #: By way and name: what it stands for, or why for nothing.
        self._known: dict[tuple[str, str], Found | InvalidRequest] = {}

    def resolve(self, task_input: TaskInput) -> tuple[dict[Path, Found], list[Problem]]:
        """Return what each ref stands for, by its path, and the faults of those that stand for nothing."""
        found: dict[Path, Found] = {}
        problems: list[Problem] = []
        for path, value in walk(task_input):
            if not isinstance(value, FileRef):
                continue
            try:
                found[path] = self._look_up(value)
            except InvalidRequest as error:
                way = next(
                    name for name in ("file", "data", "part", "url") if getattr(value, name) is not None
                )
                problems.append(Problem(pointer(("input", *path, way)), error.message, error.code))
        return found, problems

    def _look_up(self, ref: FileRef) -> Found:
        if ref.file is not None:
            return self._once("file", ref.file, self._file)
        if ref.data is not None:
            return picture(decode_base64(ref.data, self._limits), self._limits)
        if ref.part is not None:
            return self._once("part", ref.part, self._part)
        raise InvalidRequest("fetching by URL is off; send the bytes, or upload them to /v1/files first")

    def _once(self, way: str, name: str, look_up: Callable[[str], Found]) -> Found:
        if (way, name) not in self._known:
            try:
                self._known[way, name] = look_up(name)
            except InvalidRequest as error:
                self._known[way, name] = error
        known = self._known[way, name]
        if isinstance(known, InvalidRequest):
            raise known
        return known

    def _part(self, name: str) -> Picture:
        if name not in self._parts:
            raise InvalidRequest(f"this request has no part {name[:100]!r}")
        return picture(self._parts[name], self._limits)

    def _file(self, name: str) -> FileId:
        try:
            stored = self._services.store.get_file(self._owner, FileId(name))
        except NotFound as error:
            raise FileMissing("there is no such file; upload it to /v1/files first") from error
        if not stored.media_type.startswith("image/"):
            raise InvalidRequest(f"this file is {stored.media_type}; an image is needed here")
        return stored.id


def unnamed(parts: Iterable[str], named: Iterable[str]) -> list[Problem]:
    """Return a fault for each part that no ref names."""
    strays = sorted(set(parts).difference(named))
    return [Problem("", f"no ref of the input names the part {name[:100]!r}") for name in strays]


def named_parts(value: object) -> set[str]:
    """Return the parts that a body's refs name, whether or not it is a submit that can be accepted."""
    names: set[str] = set()
    pending = [value]
    while pending:
        match pending.pop():
            case dict() as found:
                if isinstance(name := found.get("part"), str):
                    names.add(name)
                pending.extend(found.values())
            case list() as found:
                pending.extend(found)
    return names


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


def store_pictures(
    found: Iterable[Found], owner: TenantId, services: Services
) -> tuple[dict[Picture, FileId], list[NewFile]]:
    """Store the bytes of what is not stored yet; return each picture's id, and the rows that are to own them.

    Raises:
        BlobsUnavailable: some may be stored; nobody owns them.
    """
    pictures = list(dict.fromkeys(one for one in found if isinstance(one, Picture)))
    ids = services.blobs.put_many([one.content for one in pictures])
    rows = {
        file: NewFile(
            id=file,
            tenant=owner,
            media_type=one.header.media_type,
            bytes=len(one.content),
            width=one.header.width,
            height=one.header.height,
        )
        for one, file in zip(pictures, ids, strict=True)
    }
    return dict(zip(pictures, ids, strict=True)), list(rows.values())
