"""A text as a text encoder reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class Tokens:
    """The ids of one text; its length counts tokens."""

    __slots__ = ("ids",)

    #: Batches are padded to their longest, so the engine sorts by length.
    padded: ClassVar[bool] = True

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)
