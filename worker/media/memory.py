"""The memory that parent and child share: the file goes in, its pixels come out, at the same place.

The parent makes it before the child lives, and seals its size: a child that a hostile image has taken over
can neither cut it short, which would end the parent with SIGBUS, nor fill the machine by lengthening it.
"""

from __future__ import annotations

import fcntl
import mmap
import os

#: What stays allocated between two pictures: the largest usual photo's file or pixels. More is given back.
_KEPT_BYTES = 4 * 2**20


class Memory:
    """A stretch of memory that two processes have mapped."""

    def __init__(self, descriptor: int, capacity: int) -> None:
        """Map what `descriptor` stands for; it may be closed thereafter.

        Raises:
            OSError, ValueError: it is not a file of `capacity` bytes, or there is no room to map it.
        """
        self.capacity = capacity
        self._map = mmap.mmap(descriptor, capacity)

    def put(self, content: bytes) -> None:
        """Lay content down for the other side."""
        self._map[: len(content)] = content

    def take(self, count: int) -> bytes:
        """Return a copy of what the other side laid down."""
        return self._map[:count]

    def take_into(self, target: memoryview) -> None:
        """Fill `target`, bytes, with what the other side laid down."""
        with memoryview(self._map) as whole, whole[: len(target)] as part:
            target[:] = part

    def trim(self, used: int) -> None:
        """Give back to the machine what a picture of `used` bytes had more than the usual one."""
        if used > _KEPT_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, _KEPT_BYTES, used - _KEPT_BYTES)

    def close(self) -> None:
        """Unmap it."""
        self._map.close()


def new_descriptor(capacity: int) -> int:
    """Return the descriptor of new memory, of this size for good; it takes no room until it is written to."""
    descriptor = os.memfd_create("iconotext-picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, capacity)
        fcntl.fcntl(
            descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
