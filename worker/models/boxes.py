"""Boxes in shares of a picture, and what is inside them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.media.views import View
from worker.models.capabilities import Box, Detection, Pixels


def apart(found: Iterable[Detection], most_overlap: float) -> list[Detection]:
    """Return the surest, and those that lie outside of all surer ones: non-maximum suppression.

    Args:
        most_overlap: how much of the smaller of two boxes may lie inside the other. Their common part is not
            held against both, as is usual: of a thing and its part, one is enough.
    """
    kept: list[Detection] = []
    for one in sorted(found, key=lambda one: -one.score):
        if all(overlap(one.box, other.box) <= most_overlap for other in kept):
            kept.append(one)
    return kept


def overlap(one: Box, other: Box) -> float:
    """Return how much of the smaller box lies inside the other, in [0, 1]."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0) / min(_area(one), _area(other))


def mean_inside(values: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Return the mean of the cells inside a box whose edges are those of cells; cells are rows by columns."""
    rows, columns = values.shape[:2]
    x0, y0, x1, y1 = box
    inside = values[round(y0 * rows) : round(y1 * rows), round(x0 * columns) : round(x1 * columns)]
    mean: NDArray[np.float32] = inside.mean(axis=(0, 1))
    return mean


def cut_out(picture: Pixels, box: Box, margin: float, view: View) -> Pixels:
    """Return the square around a box, with a margin in shares of its side, stretched into a view.

    What would lie outside of the picture is left out.
    """
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    half = max(x1 - x0, y1 - y0) * (0.5 + margin)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    inside = max(x - half, 0.0), max(y - half, 0.0), min(x + half, width), min(y + half, height)
    size = view.width, view.height
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, box=inside))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
