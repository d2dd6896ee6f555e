"""Text-weighted activation maps: where in a picture a text is, by the cells of an image encoder.

A class activation map (Zhou et al. 2016) weighs the last feature map by one class's row of the classifier.
Here every cell goes to the joint space by the map that whole pictures take, and the text is the weight.

A text that names a class, or nearly does, is also where the classifier sees that class.

Measured on 120 pairs of photographs put side by side, with a caption of each; how many maps have most of
their heat on the half that the text names, and the mean share of the heat there (GCompris 3.1; pairs of 95
photographs that this was chosen on, then of 48 held out):

    stretched to 448 x 448, above the mean                  .963 (.886)   .925 (.798)
    in its own shape, as many pixels                        .954 (.913)   .938 (.859)
    and the mean with that of 320 x 320 pixels              .958 (.929)   .954 (.885)
    and times what there is to see in each cell             .967 (.934)   .958 (.906)

On 60 other pairs, a map that is smoothed besides has .967 (.939) and .942 (.903); with the classes that the
text means, .975 (.953) and .958 (.929). Those help most where there is one thing: `dog` was on the legs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.media.views import View
from worker.models.capabilities import (
    Box,
    ImageEncoder,
    JointEncoder,
    Pixels,
    RegionFeatures,
    Vector,
    Vectors,
)

#: float32 of shape (rows, columns), in [0, 1]: its largest is 1, or all are 0.
Heat = NDArray[np.float32]

#: What `cells_of` takes: the whole picture in its own shape.
VIEW = View(width=640, height=640, fit="inside", resample="bicubic")
#: Each picture is looked at with as many pixels as squares of these sides have, the finest first.
_SIDES = (448, 320)
#: The encoder's cells are this many pixels wide and high.
_CELL_PIXELS = 32
#: Pictures longer than this are stretched to it: 28 x 7 cells.
_MOST_ASPECT = 4.0
#: Classes that a text means: its cosine with one is as high as with the nearest, less a margin that ends so
#: softly. What the classifier sees of them counts so much beside the cosine.
_MARGIN, _SOFTNESS, _BY_CLASSES = 0.15, 0.05, 2.0
#: A map with less contrast than this, as a cosine, is flat: it speaks for no place.
_FLAT = 1e-3
#: A spot's hottest cell is at least this hot, and its others at least this share as hot.
_PEAK, _AROUND = 0.6, 0.15


@dataclass(frozen=True, slots=True)
class Cells:
    """What is seen in each cell of a grid over one picture."""

    #: Of the finest grid.
    features: RegionFeatures
    #: Of each grid, the finest first: in the joint space, float32 of shape (rows, columns, D), unit length.
    grids: tuple[NDArray[np.float32], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Return rows and columns of the finest grid."""
        rows, columns = self.grids[0].shape[:2]
        return rows, columns

    def heat(self, text: Vector, meant: NDArray[np.float32]) -> Heat:
        """Return where a text is: how much more there is of it in each cell than in the mean cell.

        Args:
            text: in the joint space, unit length.
            meant: the classes that the text means, as `classes_meant` says.
        """
        fit = np.mean([_enlarged(grid @ text, self.shape) for grid in self.grids], axis=0)
        there = smooth(fit + _BY_CLASSES * (self.features.probabilities @ meant))
        # Cells without content point somewhere too; the length of their features tells.
        activity = scaled(np.linalg.norm(self.features.grid, axis=-1).astype(np.float32))
        return scaled(_above_mean(there) * activity)


@dataclass(frozen=True, slots=True)
class Spot:
    """A hot place of a map."""

    #: The heat of its hottest cell.
    heat: float
    #: Row and column of that cell.
    peak: tuple[int, int]
    #: Of the cells that belong to it, in shares of the picture's width and height.
    box: Box
    #: Those cells, bool of shape (rows, columns).
    mask: NDArray[np.bool_]


def cells_of(image: ImageEncoder, joint: JointEncoder, pictures: Sequence[Pixels]) -> list[Cells]:
    """Return the cells of each picture, whatever its size; those of one shape share a call of the encoder.

    Args:
        image: takes pictures of other sizes than its `region_view` too, and gives them more or fewer cells.
    """
    framed = [_framed(picture, side) for picture in pictures for side in _SIDES]
    features = _encoded(image, framed)
    vectors = [
        rows.reshape(*one.grid.shape[:2], -1)
        for one, rows in zip(features, joint.project_regions(features), strict=True)
    ]
    each = len(_SIDES)
    return [
        Cells(features[start], tuple(vectors[start : start + each]))
        for start in range(0, len(features), each)
    ]


def classes_meant(text: Vector, vocabulary: Vectors) -> NDArray[np.float32]:
    """Return how far a text means each class of the encoder's vocabulary, in [0, 1], shape (V,)."""
    near = vocabulary @ text
    meant: NDArray[np.float32] = 1 / (1 + np.exp((near.max() - _MARGIN - near) / _SOFTNESS))
    return meant


def heat(text: Vector, vectors: NDArray[np.float32]) -> Heat:
    """Return how much more each cell fits a text than the mean cell does, scaled to a largest of 1.

    Args:
        text: in the joint space, unit length.
        vectors: of one grid over a picture, shape (rows, columns, D).
    """
    return scaled(_above_mean(vectors @ text))


def smooth(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each cell with its neighbours mixed in, one part in two along each side of the grid.

    On the map of one scale, one thing has one spot in .50 of the photographs that this was chosen on and in
    .69 of those held out; smoothed, in .60 and .88.
    """
    wide = np.pad(values, 1, mode="edge")
    rows = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
    return ((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4).astype(np.float32)


def scaled(values: NDArray[np.float32]) -> Heat:
    """Return values that are not negative, divided by their largest; all 0 stay 0."""
    largest = values.max()
    return (values / largest).astype(np.float32) if largest > 0 else values


def spots(heat: Heat, *, peak: float = _PEAK, around: float = _AROUND) -> list[Spot]:
    """Return the hot places, hottest first: their number is how many of the thing there seem to be.

    From the hottest cell down, every cell joins the spot of its hottest neighbour (of eight), or begins one.
    Two spots that meet are one if what lies between is at least `around` as hot as either peak.

    Args:
        peak: the least heat of a spot's hottest cell.
        around: the least heat of its other cells, as a share of that.
    """
    owner = np.full(heat.shape, -1, dtype=np.int64)
    tops: list[tuple[int, int]] = []
    # No cooler cell can belong to any spot.
    hot = np.argwhere(heat >= max(around * peak, float(np.finfo(np.float32).tiny)))
    for row, column in hot[np.argsort(-heat[tuple(hot.T)], kind="stable")].tolist():
        near = owner[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        # Spots are numbered from the hottest on: the least number is the hottest neighbour's.
        found = [
            int(one) for one in np.unique(near[near >= 0]) if heat[row, column] >= around * heat[tops[one]]
        ]
        if found:
            owner[row, column] = found[0]
            for other in found[1:]:
                owner[owner == other] = found[0]
        elif heat[row, column] >= peak and not (near >= 0).any():
            owner[row, column] = len(tops)
            tops.append((row, column))
    return [_spot(heat, top, owner == index) for index, top in enumerate(tops) if (owner == index).any()]


def _spot(heat: Heat, peak: tuple[int, int], mask: NDArray[np.bool_]) -> Spot:
    return Spot(heat=float(heat[peak]), peak=peak, box=box_of(mask), mask=mask)


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Return the box around a mask's cells, of which there is at least one, in shares of its sides."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )


def _above_mean(fit: NDArray[np.float32]) -> NDArray[np.float32]:
    above = np.clip(fit - fit.mean(), 0.0, None).astype(np.float32)
    return above if above.max() >= _FLAT else np.zeros_like(above)


def _framed(picture: Pixels, side: int) -> Pixels:
    """Return a picture with about side * side pixels, in its own shape, both sides whole cells."""
    height, width = picture.shape[:2]
    stretch = np.sqrt(np.clip(width / height, 1 / _MOST_ASPECT, _MOST_ASPECT))
    size = _whole_cells(side * stretch), _whole_cells(side / stretch)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _whole_cells(pixels: float) -> int:
    return max(1, round(pixels / _CELL_PIXELS)) * _CELL_PIXELS


def _encoded(image: ImageEncoder, pictures: Sequence[Pixels]) -> list[RegionFeatures]:
    places: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        places.setdefault(picture.shape, []).append(place)
    found = {
        place: features
        for alike in places.values()
        for place, features in zip(
            alike, image.encode_regions([pictures[place] for place in alike]), strict=True
        )
    }
    return [found[place] for place in range(len(pictures))]


def _enlarged(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    rows, columns = shape
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))
