"""Refs to images and films: what each stands for, checked before anything is written, and then stored."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from api.errors import pointer
from api.images import inspect
from api.services import Services
from shared.addresses import endpoint_of
from shared.containers import START_BYTES, require_container
from shared.errors import FileMissing, FileTooLarge, InvalidRequest, NotFound, Problem, UrlRefused
from shared.jobs import FileId, NewFile, TenantId
from shared.schemas.base import FileRef, TaskInput, walk
from shared.settings import Limits

#: Where a value stands in an input.
Path = tuple[str | int, ...]
#: What a ref must stand for.
Kind = Literal["image", "video"]

_NEEDED = {"image": "an image", "video": "a film"}


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A checked image or film that is not stored yet."""

    content: bytes
    media_type: str
    #: Of an image, in pixels, before any EXIF rotation.
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An image or a film that was uploaded before."""

    id: FileId
    bytes: int


@dataclass(frozen=True, slots=True)
class Remote:
    """An image or a film that a worker will fetch; nobody has seen it yet."""

    url: str


Found = Upload | Stored | Remote


class Desk:
    """What the refs of one request stand for; whatever several refs name is looked up once."""

    def __init__(self, parts: Mapping[str, bytes], owner: TenantId, services: Services) -> None:
        self._parts = parts
        self._owner = owner
        self._services = services
        self._limits = services.settings.limits
        #: By kind, way and name: what it stands for, or why for nothing.
        self._known: dict[tuple[str, str, str], Found | InvalidRequest] = {}

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
            return self._once(ref.kind, "file", ref.file)
        if ref.data is not None:
            return uploaded(ref.kind, decode_base64(ref.data, self._limits), self._limits)
        if ref.part is not None:
            return self._once(ref.kind, "part", ref.part)
        return self._remote(ref.url or "")

    def _once(self, kind: Kind, way: Literal["file", "part"], name: str) -> Found:
        key = kind, way, name
        if key not in self._known:
            try:
                self._known[key] = self._file(kind, name) if way == "file" else self._part(kind, name)
            except InvalidRequest as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, InvalidRequest):
            raise known
        return known

    def _remote(self, url: str) -> Remote:
        settings = self._services.settings
        if not settings.url_inputs:
            raise UrlRefused("fetching by URL is off here; send the bytes, or upload them to /v1/files first")
        try:
            endpoint_of(url, private=settings.url_private, ports=settings.url_ports)
        except ValueError as error:
            raise UrlRefused(str(error)) from error
        return Remote(url)

    def _part(self, kind: Kind, name: str) -> Upload:
        if name not in self._parts:
            raise InvalidRequest(f"this request has no part {name[:100]!r}")
        return uploaded(kind, self._parts[name], self._limits)

    def _file(self, kind: Kind, name: str) -> Stored:
        try:
            stored = self._services.store.get_file(self._owner, FileId(name))
        except NotFound as error:
            raise FileMissing("there is no such file; upload it to /v1/files first") from error
        if not stored.media_type.startswith(f"{kind}/"):
            raise InvalidRequest(f"this file is {stored.media_type}; {_NEEDED[kind]} is needed here")
        return Stored(stored.id, stored.bytes)


def weight(found: Iterable[Found]) -> int:
    """Return the bytes of some files, each once however often it is named; of a URL's, nobody knows."""
    return sum(_bytes(one) for one in set(found))


def _bytes(found: Found) -> int:
    match found:
        case Upload():
            return len(found.content)
        case Stored():
            return found.bytes
        case Remote():
            return 0


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


def uploaded(kind: Kind, content: bytes, limits: Limits) -> Upload:
    """Return an image or a film that passed the check of its size and its header.

    Raises:
        FileTooLarge, ImageRefused, VideoRefused
    """
    most = limits.file_bytes if kind == "image" else limits.video_bytes
    if len(content) > most:
        raise FileTooLarge(f"the file is larger than the limit of {most:,} bytes")
    if kind == "video":
        return Upload(content, require_container(content[:START_BYTES]))
    header = inspect(content, limits)
    return Upload(content, header.media_type, header.width, header.height)


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


def store_uploads(
    found: Iterable[Found], owner: TenantId, services: Services
) -> tuple[dict[Upload, FileId], list[NewFile]]:
    """Store the bytes of what is not stored yet; return each upload's id, and the rows that are to own them.

    Raises:
        BlobsUnavailable: some may be stored; nobody owns them.
    """
    uploads = list(dict.fromkeys(one for one in found if isinstance(one, Upload)))
    ids = services.blobs.put_many([one.content for one in uploads])
    rows = {
        file: NewFile(
            id=file,
            tenant=owner,
            media_type=one.media_type,
            bytes=len(one.content),
            width=one.width,
            height=one.height,
        )
        for one, file in zip(uploads, ids, strict=True)
    }
    return dict(zip(uploads, ids, strict=True)), list(rows.values())
