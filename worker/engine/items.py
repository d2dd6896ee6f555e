"""What the engine needs to know of an item, whatever it is."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


def bucket(item: Any) -> Hashable:
    """Return what an item has in common with those that may share its batch.

    Arrays and tensors share shape and dtype, tuples the bucket of each member, all else its type; texts, of
    whatever subclass, are one bucket, tuples of nothing but texts another, and so are padded items of one
    type, whatever their lengths.
    """
    if isinstance(item, str):
        return "text"
    if isinstance(item, tuple) and all(isinstance(member, str) for member in item):
        return "texts"
    if isinstance(item, tuple):
        return tuple(bucket(member) for member in item)
    kind = type(item)
    if hasattr(item, "shape") and not is_padded(item):
        return kind.__name__, tuple(item.shape), item.dtype
    return kind.__name__


def is_padded(item: Any) -> bool:
    """Return whether a batch pads such items to its longest: texts, and types that say `padded = True`."""
    return isinstance(item, str) or bool(getattr(type(item), "padded", False) and hasattr(item, "__len__"))


def pixels(item: Any) -> int:
    """Return the pixels of a picture of shape (height, width, 3), or of those in a tuple; 0 for all else."""
    if isinstance(item, tuple):
        return sum(pixels(member) for member in item)
    shape: tuple[int, ...] = getattr(item, "shape", ())
    return int(shape[0] * shape[1]) if len(shape) == 3 and shape[2] == 3 else 0
