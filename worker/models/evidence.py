"""What a picture gives away to an image classifier: what, where, how many, in which colours.

All figures below are measured on 161 photographs of GCompris 3.1 (animals, fish, monuments, power stations,
tools, household things), none of which is among those that the quality suite asks about. The bounds were
chosen on the same 161, so that new photographs may fare a little worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.media.views import View
from worker.models.capabilities import Box, ImageEncoder, Pixels, RegionFeatures, Scored, Tuned
from worker.models.kinds import Kind, Kinds, Named
from worker.models.maps import Heat, box_of, scaled, spots
from worker.models.palette import colours

#: Whole and in its own shape: stretched to a square, three photographs in ten get another first class.
VIEW = View(width=640, height=640, fit="inside", resample="bicubic")
#: How often each picture is looked at.
_LOOKS = 3
#: Side of what the map is made of: 14 x 14 cells.
_MAP_SIDE = 448
#: A class is named from the one on, a kind of several classes from the other: 104 photographs are named, 38
#: of them by a class, four of these wrongly (what ImageNet lacks: hedgehog, white duck, spoons, mausoleum).
SURE_CLASS, SURE_KIND = 0.75, 0.6
#: In the whole picture from here on: it is there (none of 7,794 kinds that were not there reached it).
THERE = 0.4
#: Less in the whole and in the hottest cells: it is not there (true of .94 of the kinds that were not, and of
#: none of the 102 kinds of animals that were).
_NOT_WHOLE, _NOT_CELLS = 0.02, 0.05
#: Of a map, in shares of its largest: what belongs to the thing.
_ITS_OWN = 0.3
_BEHIND = 0.08
#: Of cells: the least that one of several things has, the least of a thing that can be told a colour, and the
#: least that it has on average across its longer side. Chosen by eye, the demo's rocket and helmet among what
#: was looked at.
_LEAST_CELLS, _LEAST_FOR_COLOUR, _LEAST_ACROSS = 6, 14, 2.4
#: How much of what is behind a thing shows in the cells that are its own.
_LEAKED = 0.5
#: A colour difference (CIELAB chroma) that nobody sees; in 8 bits, grey photographs stay below it.
_GREY = 4


@dataclass(frozen=True, slots=True)
class Sight:
    """One picture, looked at."""

    #: Stretched to the map's shape, 32 pixels a cell.
    pixels: Pixels
    #: Of the classes in the whole picture: the mean of three looks at it. Sums to 1.
    probabilities: NDArray[np.float32]
    #: Float32 of shape (F,): the encoder's features, in the look that it wants.
    pooled: NDArray[np.float32]
    cells: RegionFeatures
    #: How much there is to see in each cell, in [0, 1], shape (rows, columns).
    weights: NDArray[np.float32]

    @property
    def is_grey(self) -> bool:
        """Return whether the picture has no colours at all."""
        wide = self.pixels.astype(np.int16)
        return bool(np.percentile(wide.max(axis=2) - wide.min(axis=2), 99) <= _GREY)


def look(encoder: ImageEncoder, images: Sequence[Pixels]) -> list[Sight]:
    """Return each picture as the encoder sees it: as it wants it, mirrored, stretched whole; and its cells.

    One look alone is sure of a wrong class eight times in the 161 photographs, three together four times.
    """
    if not images:
        return []
    looks = [one for image in images for one in _looks(image, encoder.view)]
    stretched = [_resized(image, _MAP_SIDE, _MAP_SIDE) for image in images]
    seen = encoder.encode_images(looks)
    return [
        Sight(
            pixels,
            np.mean([one.probabilities for one in seen[_LOOKS * place : _LOOKS * (place + 1)]], axis=0),
            seen[_LOOKS * place].pooled,
            cells,
            scaled(np.linalg.norm(cells.grid, axis=-1).astype(np.float32)),
        )
        for place, (pixels, cells) in enumerate(
            zip(stretched, encoder.encode_regions(stretched), strict=True)
        )
    ]


def batch_limits(encoder: ImageEncoder, method: str) -> Mapping[str, int]:
    """Return the best batch size of a method that looks: the map is the most of the work."""
    limits = encoder.batch_limits if isinstance(encoder, Tuned) else {}
    return {method: limits["encode_regions"]} if "encode_regions" in limits else {}


def heat_of(sight: Sight, kinds: Kinds, kind: Kind) -> Heat:
    """Return where a kind is: its probability in each cell, times how much there is to see, in [0, 1].

    A cell without content has a class as well; it is the length of its features that tells.
    """
    heat: Heat = kinds.mass(kind, sight.cells.probabilities) * sight.weights
    return heat


def sure_of(sight: Sight, kinds: Kinds) -> Named | None:
    """Return the most special name that surely holds for the whole picture."""
    return kinds.most_special(sight.probabilities, SURE_CLASS, SURE_KIND)


def presence(sight: Sight, kinds: Kinds, kind: Kind) -> float | None:
    """Return how surely a kind is in the picture, near 0 or from `THERE` on; None: cannot be told."""
    whole = float(kinds.mass(kind, sight.probabilities))
    if whole >= THERE:
        return whole
    hottest = np.sort(heat_of(sight, kinds, kind), axis=None)[-4:].mean()
    if kind.complete and whole < _NOT_WHOLE and hottest < _NOT_CELLS:
        return float(hottest)
    return None


def own(heat: Heat) -> Heat:
    """Return the map with 0 where it is too cool to be the thing; its largest is 1, or all are 0."""
    whole = scaled(heat)
    return np.where(whole >= _ITS_OWN, whole, np.float32(0.0))


def box(heat: Heat) -> Box | None:
    """Return what holds everything that belongs to the thing; None where there is nothing."""
    mask = own(heat) > 0
    return box_of(mask) if mask.any() else None


def place(heat: Heat) -> str | None:
    """Return where in the picture the middle of a thing is, in thirds: `left`, `top right`, `middle`."""
    weights = own(heat)
    if weights.max() <= 0:
        return None
    rows, columns = weights.shape
    down = float((weights.sum(axis=1) @ (np.arange(rows) + 0.5)) / weights.sum() / rows)
    along = float((weights.sum(axis=0) @ (np.arange(columns) + 0.5)) / weights.sum() / columns)
    named = [_third(down, "top", "bottom"), _third(along, "left", "right")]
    return " ".join(name for name in named if name) or "middle"


def count(sight: Sight, kinds: Kinds, kind: Kind) -> int | None:
    """Return how many of a kind there are; None where its map does not tell.

    The map is that of the widest kind, as long as this one is nearly all that there is of it: of a dog, parts
    look like another animal's.

    One, if its heat is one hill by the stricter rule of two: of the 21 photographs of animals where it says
    so, two show two. Several, if their hills stand side by side, none above another, and are of like size:
    told for 19 of 32 pairs of animals put side by side, always 2. Of tools it is not told: head and handle
    would count as two.
    """
    widest = kinds.widest(kind, sight.probabilities)
    whole = scaled(heat_of(sight, kinds, widest))
    strict, lenient = spots(whole, peak=0.5, around=0.5), spots(whole, peak=0.5, around=0.15)
    if not strict or len(strict) == 1:
        return len(strict) or None
    if not widest.complete or len(lenient) < 2 or len(lenient) != len(strict):
        return None
    boxes = sorted(spot.box for spot in lenient)
    sizes = [int(spot.mask.sum()) for spot in lenient]
    apart = all(one[2] <= following[0] for one, following in pairwise(boxes))
    return len(lenient) if apart and min(sizes) >= _LEAST_CELLS and max(sizes) <= 2 * min(sizes) else None


def colours_of(sight: Sight, heat: Heat) -> list[Scored]:
    """Return the colours of a thing, largest share first; none of one too narrow for the map.

    Pixels count as much as the map is hot there. A map's cells are coarse, so that what is around the thing
    is in it as well: as much of the background's colours is taken off again as `_LEAKED` says.
    """
    if _is_narrow(own(heat) > 0):
        return []
    behind = dict(colours_behind(sight, heat))
    around = colours_at(sight, own(heat))
    left = {name: max(share - _LEAKED * behind[name], 0.0) for name, share in around}
    whole = sum(left.values())
    if whole <= 0:
        return around
    return sorted(((name, share / whole) for name, share in left.items()), key=lambda one: -one[1])


def colours_behind(sight: Sight, heat: Heat) -> list[Scored]:
    """Return the colours of what is not the thing."""
    return colours_at(sight, (scaled(heat) < _BEHIND).astype(np.float32))


def colours_at(sight: Sight, weights: Heat) -> list[Scored]:
    """Return the colours of the pixels, largest share first, each counted as its cell's weight says."""
    return colours(sight.pixels, _enlarged(weights, sight.pixels))


def _is_narrow(mask: NDArray[np.bool_]) -> bool:
    """Return whether a thing has so few cells, in all or across, that each shows much else as well."""
    cells = mask.sum()
    across = cells / max(int(mask.any(axis=1).sum()), int(mask.any(axis=0).sum()), 1)
    return bool(cells < _LEAST_FOR_COLOUR or across < _LEAST_ACROSS)


def _third(share: float, low: str, high: str) -> str:
    return low if share < 1 / 3 else high if share > 2 / 3 else ""


def _looks(image: Pixels, view: View) -> list[Pixels]:
    height, width = image.shape[:2]
    scale = min(width / view.width, height / view.height) * view.crop_fraction
    across, down = view.width * scale, view.height * scale
    left, top = (width - across) / 2, (height - down) / 2
    cropped = _resized(image, view.width, view.height, (left, top, left + across, top + down))
    return [cropped, np.ascontiguousarray(cropped[:, ::-1]), _resized(image, view.width, view.height)]


def _resized(
    image: Pixels, width: int, height: int, box: tuple[float, float, float, float] | None = None
) -> Pixels:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box))


def _enlarged(heat: Heat, pixels: Pixels) -> Heat:
    height, width = pixels.shape[:2]
    wide = Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)
    enlarged: Heat = np.clip(np.asarray(wide), 0.0, 1.0)
    return enlarged
