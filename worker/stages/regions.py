"""Stage four: places in a picture, as a result's JSON has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.models.capabilities import Box
from worker.models.maps import spots


@dataclass(frozen=True, slots=True)
class Region:
    """A hot place of a heat map."""

    #: Of the heat of the whole map, how much is inside the box, in [0, 1].
    share: float
    #: In shares of the picture's sides.
    box: Box


def hot_regions(heat: NDArray[np.float32]) -> list[Region]:
    """Return a box around each hot place, that with the most heat first; none where the map is all 0."""
    total = float(heat.sum(dtype=np.float64))
    found = [Region(min(_inside(heat, spot.box) / total, 1.0), spot.box) for spot in spots(heat)]
    return sorted(found, key=lambda region: -region.share)


def in_pixels(box: Box, width: int, height: int) -> Box:
    """Return a box in pixels of a picture of this size."""
    x0, y0, x1, y1 = (min(max(share, 0.0), 1.0) for share in box)
    return x0 * width, y0 * height, x1 * width, y1 * height


def _inside(heat: NDArray[np.float32], box: Box) -> float:
    rows, columns = heat.shape
    x0, y0, x1, y1 = box
    inside = heat[round(y0 * rows) : round(y1 * rows), round(x0 * columns) : round(x1 * columns)]
    return float(inside.sum(dtype=np.float64))
