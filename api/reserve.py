"""Whether what a request brings still fits on the disks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import BlobsFull, DatabaseFull, IconotextError

#: Free bytes of a disk; None: it is not this machine's.
Ask = Callable[[], int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reserve:
    """How much is kept free on the disks of the blobs and of the database."""

    #: What running jobs still have to write, and the database to live on.
    bytes: int
    blobs: Ask
    database: Ask

    def require(self, announced: int | None) -> None:
        """Return when a body of so many bytes can be taken; None: of unknown length.

        Raises:
            BlobsFull, DatabaseFull: it would use up the reserve.
            BlobsUnavailable, StoreUnavailable: the disk cannot be asked.
        """
        self._require(self.blobs(), announced or 0, BlobsFull, "files")
        self._require(self.database(), announced or 0, DatabaseFull, "the database")

    def is_used_up(self) -> bool:
        """Return whether not even an empty body is taken now."""
        return any(free is not None and free < self.bytes for free in (self.blobs(), self.database()))

    def _require(self, free: int | None, announced: int, kind: type[IconotextError], whose: str) -> None:
        if free is not None and free - announced < self.bytes:
            raise kind(
                f"{free:,} bytes are free on the disk of {whose}; this request brings {announced:,}, and "
                f"{self.bytes:,} stay free"
            )
