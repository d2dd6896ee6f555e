"""Does the starter look where it is told? Two demo photographs side by side, and texts that name one of them.

python -m tests.quality.composed
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from tests.direct import loaded
from worker.media.views import View, inside
from worker.models.capabilities import Detection, DetectionRequest, ExplanationRequest, Model, Pixels

PHOTOS = Path(__file__).parents[2] / "client" / "demo" / "photos"
CAPTIONS: dict[str, str] = json.loads((PHOTOS / "captions.json").read_text(encoding="utf-8"))["photos"]
#: What `detect` is asked for: each photograph's subject in a word or two.
NAMES = {
    "astronaut.jpg": "astronaut",
    "cat.jpg": "cat",
    "coffee.jpg": "cup of coffee",
    "colosseum.jpg": "colosseum",
    "dog.jpg": "dog",
    "macaw.jpg": "parrot",
    "orchestra.jpg": "orchestra",
    "photographer.jpg": "man with a camera",
    "raccoon.jpg": "raccoon",
    "rocket.jpg": "rocket",
    "windmill.jpg": "windmill",
}
#: The figures that have a bar.
HEAT = "explain: most of the heat on the half that the caption names"
BOXES = "detect: middle of the best box on the half that the label names"
_HEIGHT = 448


@dataclass(frozen=True, slots=True)
class Composed:
    """Two photographs side by side, of one height."""

    left: str
    right: str
    pixels: Pixels
    #: Where the right one begins, as a share of the width.
    seam: float

    def side(self, name: str) -> tuple[float, float]:
        """Return from where to where a photograph reaches, in shares of the width."""
        return (0.0, self.seam) if name == self.left else (self.seam, 1.0)


def composed(left: str, right: str) -> Composed:
    """Return two demo photographs side by side."""
    one, other = photo(left), photo(right)
    pixels = np.concatenate([one, other], axis=1)
    return Composed(left, right, pixels, one.shape[1] / pixels.shape[1])


def all_pairs() -> Iterator[Composed]:
    """Return every two of the photographs, either way round: 110 pictures."""
    return (composed(left, right) for left, right in permutations(CAPTIONS, 2))


def heat_on_its_half(models: Mapping[str, Model], picture: Composed) -> list[bool]:
    """Return for the left and the right caption whether most of the heat is on its photograph."""
    explainer: Any = models["Explainer"]
    image = in_view(picture.pixels, explainer.view)
    names = (picture.left, picture.right)
    found = explainer.explain([ExplanationRequest(image=image, text=CAPTIONS[name]) for name in names])
    return [_share(one.heat, picture.side(name)) > 0.5 for name, one in zip(names, found, strict=True)]


def boxes_on_their_half(models: Mapping[str, Model], picture: Composed) -> list[bool]:
    """Return for the left and the right name whether the best box's middle is on its photograph."""
    names = (picture.left, picture.right)
    found = _found(models, picture, [NAMES[name] for name in names], threshold=0.0)
    return [_is_on(found, NAMES[name], picture.side(name)) for name in names]


def labels_found(models: Mapping[str, Model], picture: Composed) -> tuple[list[bool], list[bool]]:
    """Return whether the names of both photographs are found, and those of all others, by their default."""
    labels = {one.label for one in _found(models, picture, list(NAMES.values()))}
    there = {picture.left, picture.right}
    return (
        [name in labels for photo, name in NAMES.items() if photo in there],
        [name in labels for photo, name in NAMES.items() if photo not in there],
    )


def figures(models: Mapping[str, Model]) -> dict[str, tuple[int, int]]:
    """Return each figure as how many, and of how many."""
    heat, boxes, there, absent = [], [], [], []
    for picture in all_pairs():
        heat += heat_on_its_half(models, picture)
        boxes += boxes_on_their_half(models, picture)
        found, falsely = labels_found(models, picture)
        there += found
        absent += falsely
    return {
        HEAT: (sum(heat), len(heat)),
        BOXES: (sum(boxes), len(boxes)),
        "detect: labels found that are there": (sum(there), len(there)),
        "detect: labels found that are not there": (sum(absent), len(absent)),
    }


def in_view(pixels: Pixels, view: View) -> Pixels:
    """Return a picture as a model wants it whole: `inside`."""
    height, width = pixels.shape[:2]
    size = inside(view, (width, height)) if view.fit == "inside" else (view.width, view.height)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


@cache
def photo(name: str) -> Pixels:
    """Return a demo photograph, 448 pixels high."""
    with Image.open(PHOTOS / name) as file:
        image = file.convert("RGB")
    return np.asarray(image.resize((round(image.width * _HEIGHT / image.height), _HEIGHT)))


def _found(
    models: Mapping[str, Model], picture: Composed, labels: Sequence[str], threshold: float | None = None
) -> Sequence[Detection]:
    detector: Any = models["OpenDetector"]
    image = in_view(picture.pixels, detector.view)
    request = DetectionRequest(image=image, labels=tuple(labels), threshold=threshold, max_objects=300)
    found: Sequence[Detection] = detector.find([request])[0]
    return found


def _is_on(found: Sequence[Detection], label: str, side: tuple[float, float]) -> bool:
    boxes = [one.box for one in found if one.label == label]
    return bool(boxes) and side[0] <= (boxes[0][0] + boxes[0][2]) / 2 <= side[1]


def _share(heat: Any, side: tuple[float, float]) -> float:
    """Return how much of a map's heat is between two shares of its width."""
    edges = np.linspace(0, 1, heat.shape[1] + 1)
    part = np.clip(np.minimum(edges[1:], side[1]) - np.maximum(edges[:-1], side[0]), 0, None) * heat.shape[1]
    return float((heat * part).sum() / max(heat.sum(), 1e-9))


def main() -> None:
    """Print the figures of the starter."""
    table = Table("figure", "hits", "share", title="two demo photographs side by side, every pair")
    for name, (count, of) in figures(loaded("starter")).items():
        table.add_row(name, f"{count} of {of}", f"{count / of:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
