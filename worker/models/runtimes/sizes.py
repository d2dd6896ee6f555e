"""The batch sizes that pay for a network which runs on no runtime but torch's own, on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from worker.models.runtimes.racing import winner

#: Tried while warming up.
_SIZES = (16, 32, 64, 128, 256)
_TRIALS = 3


def best_sizes(model: Any, items: Mapping[str, Any]) -> dict[str, int]:
    """Return the best batch size of each of a model's methods, measured with copies of one item.

    Args:
        model: its methods take a sequence and wait for the device.
        items: what a method is fed with, by its name.
    """

    def measured(method: str) -> int:
        return best_size(lambda size: seconds(getattr(model, method), [items[method]] * size))

    return {method: measured(method) for method in items}


def best_size(seconds_of: Callable[[int], float]) -> int:
    """Return the smallest batch size that is nearly as fast, for each item, as the fastest.

    A larger one gains nothing and delays its first items. Where not even the smallest fits into the device's
    memory, it is 1.

    Args:
        seconds_of: how long a batch of so many items takes; may run out of memory.
    """
    rates: dict[int, float] = {}
    for size in _SIZES:
        try:
            rates[size] = size / seconds_of(size)
        except torch.OutOfMemoryError:
            break
    torch.cuda.empty_cache()
    return winner({"eager": rates})[1] if rates else 1


def seconds(call: Callable[[list[Any]], object], batch: list[Any]) -> float:
    """Return how long a call takes, the least of some: what disturbs only ever adds to it."""
    call(batch)
    return min(_timed(call, batch) for _ in range(_TRIALS))


def _timed(call: Callable[[list[Any]], object], batch: list[Any]) -> float:
    began = time.perf_counter()
    call(batch)
    return time.perf_counter() - began
