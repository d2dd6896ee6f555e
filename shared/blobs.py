"""Content-addressed files: what users sent and what jobs made."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from shared.errors import BlobsUnavailable, FileTooLarge, NotFound
from shared.jobs import FileId

T = TypeVar("T")

_CHUNK_BYTES = 2**20
#: Files that are open at once while many are stored.
_AT_ONCE = 64


class Source(Protocol):
    """What bytes come from, piece by piece."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` of the next bytes; none: there are no more."""


class BlobStore:
    """Files by the SHA-256 of their content; equal content is stored once, whoever sent it.

    Who may read a file is the job store's matter: files and artifacts have owners there.
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
                file: content for file, content in zip(files, contents, strict=True) if not self.exists(file)
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
            return self._has(self._path(file)) or self._has(self._former_path(file))

    def delete(self, file: FileId) -> None:
        """Forget the content; one that is not here is no error. Raises `BlobsUnavailable`."""
        with _translated("delete", file):
            for path in (self._path(file), self._former_path(file)):
                with suppress(FileNotFoundError):
                    self._fs.rm_file(path)

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

    def _at(self, file: FileId, look: Callable[[str], T]) -> T:
        """Return what is found where the file is."""
        try:
            return look(self._path(file))
        except FileNotFoundError:
            return look(self._former_path(file))

    def _read(self, path: str) -> bytes:
        return Path(path).read_bytes() if self._is_local else cast(bytes, self._fs.cat_file(path))

    def _has(self, path: str) -> bool:
        return os.path.exists(path) if self._is_local else bool(self._fs.exists(path))  # noqa: PTH110  # half the time

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
                self._fs.rm_file(path) if not self._is_local else os.unlink(path)  # noqa: PTH108

    def _create(self, path: str) -> BinaryIO:
        if not self._is_local:
            return cast(BinaryIO, self._fs.open(path, "wb"))
        try:
            return open(path, "xb")  # noqa: PTH123  # the caller closes it
        except FileNotFoundError:
            _make_folder(path.rpartition("/")[0])
            return open(path, "xb")  # noqa: PTH123

    def _publish(self, opened: Mapping[FileId, tuple[BinaryIO, str]]) -> None:
        """Give temporary files their final names, so that a name never stands for half a file."""
        if not self._is_local:
            for file, (target, temporary) in opened.items():
                target.close()
                self._fs.mv(temporary, self._path(file))
            return
        for target, _ in opened.values():
            target.flush()
            os.fsync(target.fileno())
        changed = [
            folder
            for file, (_, temporary) in opened.items()
            for folder in _rename(temporary, self._path(file))
        ]
        # Deepest first: a journal commits with it what happened above, and the rest has nothing left to do.
        for folder in sorted(set(changed), key=len, reverse=True):
            _sync_folder(folder)


def _rename(path: str, final: str) -> list[str]:
    """Move a file into a folder that may have to be made, and return the folders that changed."""
    folder = final.rpartition("/")[0]
    changed = [folder]
    try:
        os.replace(path, final)  # noqa: PTH105  # both are the local file system's own path strings
    except FileNotFoundError:
        changed += _make_folder(folder)
        os.replace(path, final)  # noqa: PTH105
    return changed


def _make_folder(path: str) -> list[str]:
    """Make a folder with those above it, and return the folders that changed."""
    changed: list[str] = []
    above = path
    while not os.path.isdir(above):  # noqa: PTH112
        above = above.rpartition("/")[0]
        changed.append(above)
    os.makedirs(path, exist_ok=True)  # noqa: PTH103
    return changed


def _sync_folder(path: str) -> None:
    """Make a rename durable: POSIX promises it only once the folder itself is synced."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(verb: str, what: str) -> Iterator[None]:
    """Turn the file system's errors into ours, once."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {what}") from error
    except OSError as error:
        raise BlobsUnavailable(
            f"cannot {verb} {what} in the blob store: {error.strerror or error}"
        ) from error
