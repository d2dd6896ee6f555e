"""What one attempt at a job fetches: on this machine while the attempt lasts, in files without names."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

from shared.errors import BlobsUnavailable, UrlRefused
from worker.fetch import Fetcher

#: Pictures of one job on their way at once: a slow server holds up its own job, and is not overrun.
_TOGETHER = 4


class Downloads:
    """Fetches each URL of one attempt once; closed by whoever made it."""

    def __init__(self, fetcher: Fetcher | None, check: Callable[[], None]) -> None:
        """Take the means; nothing is fetched.

        Args:
            fetcher: None: URLs are off.
            check: raises when the job must not go on.
        """
        self._fetcher = fetcher
        self._check = check
        self._threads = ThreadPoolExecutor(_TOGETHER, thread_name_prefix="fetcher")
        self._pictures: dict[str, Future[_Stretch]] = {}
        #: Of all pictures: a file each would be more files than a process may open.
        self._file: BinaryIO | None = None
        self._closing = threading.Event()
        #: Held while the file is read: a descriptor that was closed may be another file's.
        self._reading = threading.Lock()

    def close(self) -> None:
        """Let go of what was fetched, and of what is on its way."""
        self._closing.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        with self._reading:
            if self._file is not None:
                self._file.close()

    def begin(self, urls: Iterable[str]) -> None:
        """Start to fetch pictures, a few at a time; one that was begun before is not begun again.

        Raises:
            UrlRefused: URLs are off.
            BlobsUnavailable: there is no place to put them.
        """
        for url in urls:
            if url not in self._pictures:
                fetcher, place = self._require_fetcher(), len(self._pictures)
                # Far enough apart that none reaches the next; what lies between takes no room on the disk.
                stretch = _Stretch(self._opened(), place * fetcher.most_bytes("image"))
                self._pictures[url] = self._threads.submit(self._fetch, fetcher, url, stretch)

    def wait(self, url: str) -> None:
        """Return when a picture that was begun is here.

        Raises:
            UrlRefused, UrlUnreachable, FileTooLarge: it cannot be had.
            BlobsUnavailable: there is no room for it.
            JobStopped, JobTimeout, LeaseLost: the job must not go on.
        """
        self._pictures[url].result()

    def picture(self, url: str) -> bytes:
        """Return a picture's bytes, or raise what `wait` does."""
        stretch = self._pictures[url].result()
        with self._reading:
            self._go_on()
            return stretch.read()

    @contextmanager
    def film(self, url: str) -> Iterator[BinaryIO]:
        """Lend a film, at its start; raises what `wait` does."""
        with _unnamed() as file:
            self._require_fetcher().fetch("video", url, _Stretch(file, 0).write, self._check)
            yield file

    def _fetch(self, fetcher: Fetcher, url: str, stretch: _Stretch) -> _Stretch:
        fetcher.fetch("image", url, stretch.write, self._go_on)
        return stretch

    def _go_on(self) -> None:
        self._check()
        if self._closing.is_set():
            raise AttemptOver

    def _opened(self) -> BinaryIO:
        self._file = self._file or _unnamed()
        return self._file

    def _require_fetcher(self) -> Fetcher:
        if self._fetcher is None:
            raise UrlRefused("fetching by URL is off at this worker")
        return self._fetcher


class AttemptOver(Exception):
    """Nobody waits any longer: whoever still fetches for the attempt may stop."""


class _Stretch:
    """A part of a file, written from its start on by one thread; any may read it then."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._descriptor = file.fileno()
        self._start = start
        self._bytes = 0

    def write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        with _disk_may_fail():
            while rest:
                written = os.pwrite(self._descriptor, rest, self._start + self._bytes)
                self._bytes += written
                rest = rest[written:]

    def read(self) -> bytes:
        with _disk_may_fail():
            return os.pread(self._descriptor, self._bytes, self._start)


def _unnamed() -> BinaryIO:
    """Return a file that vanishes with the process, however that ends."""
    with _disk_may_fail():
        return tempfile.TemporaryFile(buffering=0)


@contextmanager
def _disk_may_fail() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BlobsUnavailable(f"no place for what is fetched: {error.strerror or error}") from error
