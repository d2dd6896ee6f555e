"""Files of a local disk: named once they are whole, touched while somebody needs them, and else discarded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import BinaryIO

# ruff: noqa: PTH103, PTH105, PTH108, PTH112, PTH116, PTH123  # pathlib takes as long as the calls themselves


def create(path: str) -> BinaryIO:
    """Open a new file for writing, in a folder that is made if it is missing; the caller closes it."""
    try:
        return open(path, "xb")
    except FileNotFoundError:
        make_folder(path.rpartition("/")[0])
        return open(path, "xb")


def publish(written: Mapping[str, tuple[BinaryIO, str]]) -> None:
    """Give files their final names, which are the keys; each stands for all of its content, durably."""
    for target, _ in written.values():
        target.flush()
        os.fsync(target.fileno())
    changed = [folder for final, (_, path) in written.items() for folder in _rename(path, final)]
    # Deepest first: a journal commits with it what happened above, and the rest has nothing left to do.
    for folder in sorted(set(changed), key=len, reverse=True):
        _sync_folder(folder)


def touch(path: str) -> bool:
    """Make a file as young as one written now, and return whether it is here and may be touched."""
    try:
        os.utime(path)
        # `discard` may have moved it away between the two halves of the first call, its name and its time.
        os.stat(path)
    except (FileNotFoundError, PermissionError):
        return False
    return True


def discard(path: str, aside: str, unused_since: datetime) -> bool:
    """Delete a file that was not touched after a moment, and return whether it is gone.

    Whoever finds it touched afterwards (`touch` returned True) keeps it. For `touch` has seen the name in
    place after its touch; so the move aside came later, and the second look below, later still, sees a file
    that was touched, and gives it its name back. Whoever comes after the move finds no file, and writes it
    anew. A process that dies in between leaves it aside, where `restore` finds it.

    Args:
        aside: a name that nobody else uses, on the same disk.
    """
    try:
        if modified(path) > unused_since:
            return False
        _rename(path, aside)
        if modified(aside) > unused_since:
            restore(aside, path)
            return False
        os.unlink(aside)
    except FileNotFoundError:
        return False
    return True


def restore(aside: str, path: str) -> None:
    """Give a file that was moved aside its name back, unless there is a new one of that name."""
    with suppress(FileExistsError):
        os.link(aside, path)
    os.unlink(aside)


def modified(path: str) -> datetime:
    """Return when a file was last written or touched, by the disk's clock."""
    return datetime.fromtimestamp(os.stat(path).st_mtime, UTC)


def clock(folder: str) -> datetime:
    """Return the present moment by a disk's own clock, which another host may keep."""
    # Not a new file's time: a full disk has no room for one.
    os.utime(folder)
    return modified(folder)


def names(folder: str) -> Iterator[tuple[str, bool]]:
    """Yield the name of each entry of a folder, and whether it is a folder; none is there: none."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, entry.is_dir(follow_symlinks=False)


def is_file(path: str) -> bool:
    """Return whether there is a file of this name."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def make_folder(path: str) -> list[str]:
    """Make a folder with those above it, and return the folders that changed."""
    changed: list[str] = []
    above = path
    while not os.path.isdir(above):
        above = above.rpartition("/")[0]
        changed.append(above)
    os.makedirs(path, exist_ok=True)
    return changed


def _rename(path: str, final: str) -> list[str]:
    """Move a file into a folder that may have to be made, and return the folders that changed."""
    folder = final.rpartition("/")[0]
    changed = [folder]
    try:
        os.replace(path, final)
    except FileNotFoundError:
        changed += make_folder(folder)
        os.replace(path, final)
    return changed


def _sync_folder(path: str) -> None:
    """Make a rename durable: POSIX promises it only once the folder itself is synced."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
