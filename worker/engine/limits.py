"""How large a batch may grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """How large a batch may grow, and how long it may wait to."""

    #: Caps what a model finds best for itself.
    max_items: int = 32
    #: Pixels in one batch of pictures, all together; one picture alone may pass it. None: any number.
    max_pixels: int | None = None
    #: Exceptions to `max_items`, by operation: `{"TextEncoder.encode_texts": 64}`; they go before what a
    #: model finds best.
    per_operation: Mapping[str, int] = field(default_factory=dict)
    #: How long an item waits for neighbours while other jobs are in flight; nobody else about, it never does.
    max_wait: timedelta = timedelta(milliseconds=5)
    #: The wait that weighs as much as a full batch when lanes compete: rare operations do not starve.
    patience: timedelta = timedelta(milliseconds=100)

    def of(self, operation: str, *, best: int | None = None, pixels: int = 0) -> int:
        """Return the most items of one batch, at least 1.

        Args:
            operation: `TextEncoder.encode_texts`.
            best: the batch size that the model measured for itself.
            pixels: of each item; 0: no picture.
        """
        size = self.per_operation.get(operation, min(best or self.max_items, self.max_items))
        if self.max_pixels is not None and pixels:
            size = min(size, self.max_pixels // pixels)
        return max(1, size)
