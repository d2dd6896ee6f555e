"""Content-addressed files: what users sent and what jobs made."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from shared import disks
from shared.errors import BlobsFull, BlobsUnavailable, FileTooLarge, NotFound
from shared.jobs import FileId

T = TypeVar("T")

#: The folders that `BlobStore.names` looks into: the first two digits of an id.
FOLDERS = tuple(f"{number:02x}" for number in range(256))

_CHUNK_BYTES = 2**20
#: Files that are open at once while many are stored.
_AT_ONCE = 64
_ID = re.compile("[0-9a-f]{64}")
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Source(Protocol):
    """What bytes come from, piece by piece."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` of the next bytes; none: there are no more."""


class BlobStore:
    """Files by the SHA-256 of their content; equal content is stored once, whoever sent it.

    Who may read a file, and who still needs it, is the job store's matter. Whoever puts a file here means to
    name it there soon: a put, of new content or of known, holds off `discard`.
    """

    def __init__(self, url: str) -> None:
        """Open the store at an fsspec URL: `file:///srv/blobs`, `s3://bucket/prefix`, `memory://blobs`."""
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def put(self, content: bytes) -> FileId:
        """Store the content and return its id; durable on return.

        Raises:
            BlobsUnavailable: nothing was stored.
        """
        return self.put_many([content])[0]

    def put_many(self, contents: Sequence[bytes]) -> list[FileId]:
        """Store each content and return their ids in order; durable on return.

        Raises:
            BlobsUnavailable: some may have been stored.
        """
        files = [FileId(hashlib.sha256(content).hexdigest()) for content in contents]
        with _translated("write", "a new file"):
            new = {
                file: content
                for file, content in dict(zip(files, contents, strict=True)).items()
                if not self._touch(file)
            }
            names = list(new)
            for start in range(0, len(names), _AT_ONCE):
                self._write({name: new[name] for name in names[start : start + _AT_ONCE]})
        return files

    def put_stream(self, source: Source, limit: int) -> tuple[FileId, int]:
        """Store what `source` holds and return its id and size, never keeping more than a chunk in memory.

        Raises:
            FileTooLarge: the source holds more than `limit` bytes; nothing was stored.
            BlobsUnavailable: nothing was stored.
        """
        digest = hashlib.sha256()
        size = 0
        with _translated("write", "a new file"), ExitStack() as stack:
            target, path = stack.enter_context(self._temporary())
            while chunk := source.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > limit:
                    raise FileTooLarge(f"the file is larger than the limit of {limit:,} bytes")
                digest.update(chunk)
                target.write(chunk)
            file = FileId(digest.hexdigest())
            self._publish({file: (target, path)})
        return file, size

    def keep(self, files: Iterable[FileId]) -> None:
        """Hold off `discard` of files put a while ago, as putting them again would.

        Raises:
            BlobsUnavailable: one of them is gone, or the store does not answer.
        """
        with _translated("write", "a new file"):
            for file in files:
                if not self._touch(file) and not self._copy(file):
                    raise BlobsUnavailable(f"the file {file} is gone from the blob store")

    def read(self, file: FileId) -> bytes:
        """Return the whole content; raises `NotFound` or `BlobsUnavailable`."""
        with _translated("read", file):
            return self._at(file, self._read)

    def open(self, file: FileId) -> BinaryIO:
        """Return a seekable binary reader; the caller closes it. Raises `NotFound` or `BlobsUnavailable`."""
        with _translated("read", file):
            return self._at(file, lambda path: cast(BinaryIO, self._fs.open(path, "rb")))

    def size(self, file: FileId) -> int:
        """Return the length in bytes; raises `NotFound` or `BlobsUnavailable`."""
        with _translated("read", file):
            return self._at(file, lambda path: int(self._fs.size(path)))

    def exists(self, file: FileId) -> bool:
        """Return whether the content is here; raises `BlobsUnavailable`."""
        with _translated("read", file):
            return any(self._has(path) for path in self._places(file))

    def clock(self) -> datetime:
        """Return the present moment on the store's own clock, which may be another host's.

        Raises:
            BlobsUnavailable: the store does not answer.
        """
        with _translated("reach", "the store"):
            if self._is_local:
                disks.make_folder(self._root)
                return disks.clock(self._root)
            with self._temporary() as (target, path):
                target.close()
                return self._modified(path)

    def discard(self, file: FileId, *, unused_since: datetime) -> bool:
        """Delete a content that nobody put after a moment, and return whether it is gone.

        On a local disk no put loses its content to it (`shared.disks.discard`). Other stores cannot delete
        on a condition: there, a put of an old content that falls between the look and the deletion, a moment
        of milliseconds, is lost.

        Args:
            unused_since: by `clock`.

        Raises:
            BlobsUnavailable: it may be gone.
        """
        with _translated("delete", file):
            former, path = self._former_path(file), self._path(file)
            gone = [self._discard(place, file, unused_since) for place in (former, path)]
            return any(gone)

    def names(self, folder: str) -> Iterator[FileId]:
        """Yield what is in one of the `FOLDERS`, in no order; raises `BlobsUnavailable`."""
        with _translated("read", "a folder"):
            for name, is_folder in self._names(folder):
                inside = self._names(f"{folder}/{name}") if is_folder else [(name, False)]
                for one, _ in inside:
                    if _ID.fullmatch(one):
                        yield FileId(one)

    def tidy(self, unused_since: datetime) -> None:
        """Clear away what puts and discards left that broke off before a moment by `clock`.

        Raises:
            BlobsUnavailable: some may be left.
        """
        with _translated("tidy", "the store"):
            for name, _ in self._names("incoming"):
                path = f"{self._root}/incoming/{name}"
                with suppress(FileNotFoundError):
                    if self._modified(path) <= unused_since:
                        self._fs.rm_file(path)
            # What is really unused will be discarded once more.
            for name, _ in self._names("outgoing"):
                with suppress(FileNotFoundError):
                    disks.restore(self._aside(name), self._path(FileId(name.partition(".")[0])))

    def free_bytes(self) -> int | None:
        """Return how much more fits on the disk; None: that is not this machine's business.

        Raises:
            BlobsUnavailable: the disk cannot be asked.
        """
        if not self._is_local:
            return None
        with _translated("reach", "the store"):
            # The first file makes its folder.
            folder = next(one for one in (Path(self._root), *Path(self._root).parents) if one.exists())
            return shutil.disk_usage(folder).free

    def ping(self) -> None:
        """Raise `BlobsUnavailable` unless the store answers."""
        with _translated("reach", "the store"):
            if self._is_local:
                self._fs.makedirs(self._root, exist_ok=True)
            self._fs.exists(self._root)

    def _path(self, file: FileId) -> str:
        # 256 folders keep a listing short at millions of files. 65,536 would keep it shorter, but to make two
        # folders for almost every new file costs more than all else that is done for it.
        return f"{self._root}/{file[:2]}/{file}"

    def _former_path(self, file: FileId) -> str:
        """Return where the first release put a file."""
        return f"{self._root}/{file[:2]}/{file[2:4]}/{file}"

    def _aside(self, name: str) -> str:
        return f"{self._root}/outgoing/{name}"

    def _places(self, file: FileId) -> Iterator[str]:
        """Yield where a file can be, in the order in which one that is on the move will be met."""
        yield self._path(file)
        yield self._former_path(file)
        if self._is_local:
            # A discard that found it in use has it for a moment, or until it is tidied up after its death.
            for name, _ in self._names("outgoing"):
                if name.startswith(file):
                    yield self._aside(name)
            yield self._path(file)

    def _at(self, file: FileId, look: Callable[[str], T]) -> T:
        """Return what is found where the file is."""
        for path in self._places(file):
            with suppress(FileNotFoundError):
                return look(path)
        raise FileNotFoundError(file)

    def _read(self, path: str) -> bytes:
        return Path(path).read_bytes() if self._is_local else cast(bytes, self._fs.cat_file(path))

    def _has(self, path: str) -> bool:
        return disks.is_file(path) if self._is_local else bool(self._fs.exists(path))

    def _modified(self, path: str) -> datetime:
        if self._is_local:
            return disks.modified(path)
        self._fs.invalidate_cache()
        return cast(datetime, self._fs.modified(path)).astimezone(UTC)

    def _names(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Yield the name of each entry of a folder, and whether it is a folder."""
        path = f"{self._root}/{folder}"
        if self._is_local:
            yield from disks.names(path)
            return
        self._fs.invalidate_cache()
        with suppress(FileNotFoundError):
            for entry in self._fs.ls(path, detail=True):
                yield entry["name"].rpartition("/")[2], entry["type"] == "directory"

    def _touch(self, file: FileId) -> bool:
        """Return whether the content is here and counts as put now; only on a disk it ever does."""
        return self._is_local and (disks.touch(self._path(file)) or disks.touch(self._former_path(file)))

    def _copy(self, file: FileId) -> bool:
        """Put once more what is here already, and return whether it is."""
        try:
            with self.open(file) as content:
                self.put_stream(content, limit=2**63)
        except NotFound:
            return False
        return True

    def _discard(self, path: str, file: FileId, unused_since: datetime) -> bool:
        if self._is_local:
            return disks.discard(path, self._aside(f"{file}.{uuid.uuid4().hex}"), unused_since)
        with suppress(FileNotFoundError):
            if self._modified(path) <= unused_since:
                self._fs.rm_file(path)
                return True
        return False

    def _write(self, contents: Mapping[FileId, bytes]) -> None:
        """Store contents that are not here yet."""
        with ExitStack() as stack:
            opened: dict[FileId, tuple[BinaryIO, str]] = {}
            for file, content in contents.items():
                opened[file] = stack.enter_context(self._temporary())
                opened[file][0].write(content)
            self._publish(opened)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[BinaryIO, str]]:
        """Yield a file under a temporary name, and the name; whatever is left there afterwards is removed."""
        path = f"{self._root}/incoming/{uuid.uuid4().hex}"
        try:
            with self._create(path) as target:
                yield target, path
        finally:
            # Renamed, it is gone: to ask first would be one more look.
            with suppress(FileNotFoundError):
                self._fs.rm_file(path) if not self._is_local else Path(path).unlink()

    def _create(self, path: str) -> BinaryIO:
        return disks.create(path) if self._is_local else cast(BinaryIO, self._fs.open(path, "wb"))

    def _publish(self, opened: Mapping[FileId, tuple[BinaryIO, str]]) -> None:
        """Give temporary files their final names, so that a name never stands for half a file."""
        if self._is_local:
            disks.publish({self._path(file): written for file, written in opened.items()})
            return
        for file, (target, temporary) in opened.items():
            target.close()
            self._fs.mv(temporary, self._path(file))


@contextmanager
def _translated(verb: str, what: str) -> Iterator[None]:
    """Turn the file system's errors into ours, once."""
    try:
        yield
    except OSError as error:
        words = f"cannot {verb} {what} in the blob store: {error.strerror or error}"
        if error.errno in _FULL:
            raise BlobsFull(words) from error
        # A file that is being written may have been taken for one left behind: that is no caller's fault.
        if isinstance(error, FileNotFoundError) and verb == "read":
            raise NotFound(f"no such file: {what}") from error
        raise BlobsUnavailable(words) from error
