"""A blob that somebody may be about to name is not deleted, whatever comes between whose steps."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.blobs import FOLDERS, BlobStore
from shared.errors import BlobsFull, BlobsUnavailable, NotFound
from shared.jobs import FileId
from tests.small_disks import fill

CONTENT = b"a picture" * 1000
NAME = FileId(hashlib.sha256(CONTENT).hexdigest())
HOUR = timedelta(hours=1)


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path.as_uri() if request.param == "file" else f"memory://{tmp_path.name}")


@pytest.fixture
def disk(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path.as_uri())


def age(path: Path, by: timedelta) -> None:
    """Make a file look as if it had been put long ago."""
    then = path.stat().st_mtime - by.total_seconds()
    os.utime(path, (then, then))


def put_long_ago(disk: BlobStore) -> Path:
    disk.put(CONTENT)
    path = Path(disk._path(NAME))
    age(path, 2 * HOUR)
    return path


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("put", ["put", "put_stream", "keep"])
def test_what_was_put_again_is_not_discarded(blobs: BlobStore, put: str) -> None:
    blobs.put(CONTENT)
    before = blobs.clock()
    again: dict[str, Callable[[], object]] = {
        "put": lambda: blobs.put_many([b"another", CONTENT]),
        "put_stream": lambda: blobs.put_stream(io.BytesIO(CONTENT), limit=10**6),
        "keep": lambda: blobs.keep([NAME]),
    }
    while blobs.clock() <= before:
        pass

    again[put]()

    assert not blobs.discard(NAME, unused_since=before)
    assert blobs.read(NAME) == CONTENT
    assert blobs.discard(NAME, unused_since=blobs.clock())
    assert not blobs.exists(NAME)
    assert not blobs.discard(NAME, unused_since=blobs.clock())


def test_to_keep_what_is_gone_is_refused(blobs: BlobStore) -> None:
    with pytest.raises(BlobsUnavailable, match="is gone"):
        blobs.keep([NAME])


def test_a_host_whose_clock_is_wrong_discards_nothing_too_early(
    disk: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.put(CONTENT)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert not disk.discard(NAME, unused_since=disk.clock() - HOUR)


#: More system calls than a put or a discard makes.
_STEPS = range(12)


class _Interposed:
    """Has something else done before one of the system calls of some work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], *, before: int) -> None:
        """Take what is done, and before the how manieth call."""
        self._act: Callable[[], object] | None = act
        self._left = before
        for name in ("link", "open", "replace", "scandir", "stat", "unlink", "utime"):
            monkeypatch.setattr(os, name, partial(self._call, getattr(os, name)))

    def _call(self, call: Callable[..., Any], *args: Any, **given: Any) -> Any:
        if self._left == 0 and (act := self._act) is not None:
            self._act = None
            act()
        self._left -= 1
        return call(*args, **given)


@pytest.mark.parametrize("step", _STEPS)
@pytest.mark.parametrize("has_discarded", [True, False], ids=["later", "first"])
def test_a_put_between_any_two_steps_of_a_discard_keeps_its_content(
    disk: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, has_discarded: bool
) -> None:
    if has_discarded:
        disk.discard(disk.put(b"another"), unused_since=disk.clock())
    put_long_ago(disk)
    since = disk.clock() - HOUR
    put: list[FileId] = []
    _Interposed(monkeypatch, lambda: put.append(disk.put(CONTENT)), before=step)

    disk.discard(NAME, unused_since=since)

    if put:
        assert disk.read(NAME) == CONTENT
        assert files_under(tmp_path) == [Path(disk._path(NAME))]
    else:
        assert step >= 5, "the discard was over before"


@pytest.mark.parametrize("step", _STEPS)
def test_a_discard_between_any_two_steps_of_a_put_takes_nothing_from_it(
    disk: BlobStore, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    put_long_ago(disk)
    since = disk.clock() - HOUR
    _Interposed(monkeypatch, lambda: disk.discard(NAME, unused_since=since), before=step)

    assert disk.put(CONTENT) == NAME

    assert disk.read(NAME) == CONTENT


@pytest.mark.parametrize("step", _STEPS)
def test_a_reader_meets_what_is_moved_aside_and_back_while_it_looks(
    disk: BlobStore, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    path = put_long_ago(disk)
    aside = Path(disk._aside(f"{NAME}.1"))
    aside.parent.mkdir()
    path.rename(aside)
    _Interposed(monkeypatch, lambda: disk.tidy(disk.clock() - HOUR), before=step)

    assert disk.exists(NAME)
    assert disk.read(NAME) == CONTENT


def test_a_put_whose_touch_reaches_a_file_that_is_gone_writes_anew(
    disk: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel finds the file by its name first and changes its time then.
    put_long_ago(disk)
    since = disk.clock() - HOUR
    original = os.utime

    def found_then_changed(path: Any, *args: Any, **given: Any) -> None:
        monkeypatch.setattr(os, "utime", original)
        with Path(path).open("rb") as found:
            assert disk.discard(NAME, unused_since=since)
            original(found.fileno(), *args, **given)

    monkeypatch.setattr(os, "utime", found_then_changed)

    disk.put(CONTENT)

    assert disk.read(NAME) == CONTENT


@pytest.mark.parametrize("look", ["read", "open", "size", "exists"])
def test_what_is_moved_aside_is_found_all_the_same(disk: BlobStore, look: str) -> None:
    path = put_long_ago(disk)
    aside = Path(disk._aside(f"{NAME}.1"))
    aside.parent.mkdir()
    path.rename(aside)

    assert getattr(disk, look)(NAME)

    disk.tidy(disk.clock() - HOUR)
    assert not aside.exists()
    assert path.read_bytes() == CONTENT


def test_what_was_moved_aside_replaces_nothing_newer(disk: BlobStore) -> None:
    path = put_long_ago(disk)
    aside = Path(disk._aside(f"{NAME}.1"))
    aside.parent.mkdir()
    path.rename(aside)
    disk.put(CONTENT)
    since = disk.clock() - HOUR

    disk.tidy(since)

    assert not aside.exists()
    assert not disk.discard(NAME, unused_since=since)


_GRACE = timedelta(milliseconds=50)
#: Less than the grace by some ticks of the file system's clock.
_SAFE_S = 0.035


def _put_and_lose(disk: BlobStore, contents: list[bytes]) -> Iterator[FileId]:
    """Put some contents, and yield those that are gone though nothing may have discarded them yet."""
    began = time.monotonic()
    for file, content in zip(disk.put_many(contents), contents, strict=True):
        try:
            is_here = disk.read(file) == content
        except NotFound:
            is_here = False
        # Where the machine stood still meanwhile, it may go.
        if not is_here and time.monotonic() - began < _SAFE_S:
            yield file


def test_puts_and_discards_at_once_lose_nothing(disk: BlobStore) -> None:
    contents = [b"%d" % number for number in range(4)]
    files = disk.put_many(contents)
    done = threading.Event()
    lost: list[FileId] = []

    def discard() -> None:
        while not done.is_set():
            for file in files:
                # All that was put before this look may go.
                disk.discard(file, unused_since=disk.clock() - _GRACE)

    def put() -> None:
        try:
            for _ in range(2000):
                lost.extend(_put_and_lose(disk, contents))
        finally:
            done.set()

    threads = [threading.Thread(target=work) for work in (discard, discard, put)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []


def test_every_file_is_in_one_of_the_folders(blobs: BlobStore) -> None:
    files = blobs.put_many([b"%d" % number for number in range(500)])
    former = blobs._former_path(files[0])
    blobs._fs.makedirs(former.rpartition("/")[0], exist_ok=True)
    blobs._fs.mv(blobs._path(files[0]), former)
    blobs._fs.pipe(f"{blobs._root}/00/no-blob", b"a stranger")

    found = [file for folder in FOLDERS for file in blobs.names(folder)]

    assert sorted(found) == sorted(files)


def test_what_a_broken_put_left_is_cleared_away_once_it_is_old(blobs: BlobStore) -> None:
    blobs._fs.makedirs(f"{blobs._root}/incoming", exist_ok=True)
    blobs._fs.pipe(f"{blobs._root}/incoming/left", b"half a picture")
    blobs.tidy(blobs.clock() - HOUR)
    assert blobs._fs.exists(f"{blobs._root}/incoming/left")
    blobs.tidy(blobs.clock())
    assert not blobs._fs.exists(f"{blobs._root}/incoming/left")


def test_an_upload_that_stalled_too_long_may_be_sent_again(disk: BlobStore) -> None:
    class Stalling(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            disk.tidy(disk.clock())
            return super().read(size)

    with pytest.raises(BlobsUnavailable):
        disk.put_stream(Stalling(CONTENT), limit=10**6)


@pytest.mark.parametrize("small", ["1m"], indirect=True)
def test_a_full_disk_is_named_leaves_nothing_half_and_can_be_cleared(small: Path) -> None:
    disk = BlobStore(small.as_uri())
    disk.put(CONTENT)
    for attempt in (disk.put, lambda content: disk.put_stream(io.BytesIO(content), limit=10**9)):
        with pytest.raises(BlobsFull, match="No space left"):
            attempt(b"x" * 2**21)
    assert files_under(small) == [Path(disk._path(NAME))]
    ballast = fill(small)

    assert disk.discard(NAME, unused_since=disk.clock())

    ballast.unlink()
    assert disk.read(disk.put(CONTENT)) == CONTENT


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, BlobsFull), (errno.EDQUOT, BlobsFull), (errno.EIO, BlobsUnavailable)],
)
def test_a_put_that_the_disk_refuses_is_told_by_its_reason(
    disk: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(error) as caught:
        disk.put(CONTENT)
    assert type(caught.value) is error
    assert files_under(tmp_path) == []
