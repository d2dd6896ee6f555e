"""What a decode child is given for life."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """The limits of a decode child, and the memory that it shares with its parent."""

    #: Address space, in bytes.
    memory_bytes: int
    #: CPU time of one image.
    cpu_seconds: float
    image_pixels: int
    image_side: int
    #: Of the shared memory: its descriptor in both processes, and its size.
    shared_descriptor: int
    shared_bytes: int

    def written(self) -> str:
        """Return the terms as one word of a command line."""
        return json.dumps(asdict(self))


def read(word: str) -> Terms:
    """Return what `Terms.written` wrote."""
    return Terms(**json.loads(word))
