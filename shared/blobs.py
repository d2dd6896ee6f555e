"""Content-addressed files: what users sent and what jobs made."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from shared.errors import BlobsUnavailable, BodyTooLarge, NotFound
from shared.jobs import FileId

_CHUNK_BYTES = 2**20


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
        file = FileId(hashlib.sha256(content).hexdigest())
        with _translated("write", file):
            if not self._fs.exists(self._path(file)):
                with self._temporary() as (target, path):
                    target.write(content)
                    self._publish(target, path, file)
        return file

    def put_stream(self, source: BinaryIO, limit: int) -> tuple[FileId, int]:
        """Store what `source` holds and return its id and size, never keeping more than a chunk in memory.

        Raises:
            BodyTooLarge: the source holds more than `limit` bytes; nothing was stored.
            BlobsUnavailable: nothing was stored.
        """
        digest = hashlib.sha256()
        size = 0
        with _translated("write", "a new file"), self._temporary() as (target, path):
            while chunk := source.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > limit:
                    raise BodyTooLarge(f"the file is larger than the limit of {limit:,} bytes")
                digest.update(chunk)
                target.write(chunk)
            file = FileId(digest.hexdigest())
            self._publish(target, path, file)
        return file, size

    def read(self, file: FileId) -> bytes:
        """Return the whole content; raises `NotFound` or `BlobsUnavailable`."""
        with _translated("read", file):
            return cast(bytes, self._fs.cat_file(self._path(file)))

    def open(self, file: FileId) -> BinaryIO:
        """Return a seekable binary reader; the caller closes it. Raises `NotFound` or `BlobsUnavailable`."""
        with _translated("read", file):
            return cast(BinaryIO, self._fs.open(self._path(file), "rb"))

    def size(self, file: FileId) -> int:
        """Return the length in bytes; raises `NotFound` or `BlobsUnavailable`."""
        with _translated("read", file):
            return int(self._fs.size(self._path(file)))

    def exists(self, file: FileId) -> bool:
        """Return whether the content is here; raises `BlobsUnavailable`."""
        with _translated("read", file):
            return bool(self._fs.exists(self._path(file)))

    def delete(self, file: FileId) -> None:
        """Forget the content; one that is not here is no error. Raises `BlobsUnavailable`."""
        with _translated("delete", file):
            try:
                self._fs.rm_file(self._path(file))
            except FileNotFoundError:
                return

    def ping(self) -> None:
        """Raise `BlobsUnavailable` unless the store answers."""
        with _translated("reach", "the store"):
            if self._is_local:
                self._fs.makedirs(self._root, exist_ok=True)
            self._fs.exists(self._root)

    def _path(self, file: FileId) -> str:
        # Two levels of 256 folders keep a folder's listing short at millions of files.
        return f"{self._root}/{file[:2]}/{file[2:4]}/{file}"

    @contextmanager
    def _temporary(self) -> Iterator[tuple[BinaryIO, str]]:
        """Yield a file under a temporary name, and the name; whatever is left there afterwards is removed."""
        path = f"{self._root}/incoming/{uuid.uuid4().hex}"
        if self._is_local:
            self._fs.makedirs(f"{self._root}/incoming", exist_ok=True)
        try:
            with self._fs.open(path, "wb") as target:
                yield cast(BinaryIO, target), path
        finally:
            if self._fs.exists(path):
                self._fs.rm_file(path)

    def _publish(self, target: BinaryIO, temporary: str, file: FileId) -> None:
        """Give the temporary file its final name, so that a name never stands for half a file."""
        final = self._path(file)
        if not self._is_local:
            target.close()
            self._fs.mv(temporary, final)
            return
        target.flush()
        os.fsync(target.fileno())
        folder = final.rpartition("/")[0]
        self._fs.makedirs(folder, exist_ok=True)
        os.replace(temporary, final)  # noqa: PTH105  # both are the local file system's own path strings
        _sync_folder(folder)


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
