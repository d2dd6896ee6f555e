"""What a decode child is given for life."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

_PROJECT = Path(__file__).parents[2]


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


def environment() -> dict[str, str]:
    """Return what a child needs to find its interpreter's parts: not the parent's secrets."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
    # Each malloc arena, and each thread of OpenBLAS, reserves a part of the address space of the child.
    return {**kept, "PYTHONPATH": str(_PROJECT), "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
