"""`generate`: an image from a text."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from shared.errors import NotOffered
from shared.schemas.generate import GenerateInput, GenerateResult
from worker.media.encode import png
from worker.media.views import View
from worker.models.capabilities import Canvas, GenerationRequest, Generator, Pixels
from worker.pipeline import Pipeline, Work
from worker.stages.painting import begun_from_text, painted

#: Of a seed: the largest that a task's input takes.
_SEED_BITS = 63
#: Sides are multiples of this, and the least is the task's.
_GRAIN = 8
_LEAST = 64


@dataclass(frozen=True, slots=True)
class Extracted:
    """How large the picture is to be, and where it starts from."""

    width: int
    height: int
    image: Pixels | None


@dataclass(frozen=True, slots=True)
class Begun:
    """The text as a canvas, no step done."""

    seed: int
    canvas: Canvas


@dataclass(frozen=True, slots=True)
class Made:
    """The finished picture."""

    seed: int
    steps: int
    pixels: Pixels


def extract(work: Work, task: GenerateInput) -> Extracted:
    width, height = _size(work.model(Generator), task)
    if task.init_image is None:
        return Extracted(width, height, None)
    (image,) = work.images([task.init_image], View(width=width, height=height, fit="crop"))
    return Extracted(width, height, image)


def convert(work: Work, task: GenerateInput, extracted: Extracted) -> Begun:
    seed = secrets.randbits(_SEED_BITS) if task.seed is None else task.seed
    request = GenerationRequest(
        prompt=task.prompt,
        width=extracted.width,
        height=extracted.height,
        steps=task.steps,
        seed=seed,
        image=extracted.image,
        strength=task.strength,
    )
    return Begun(seed, begun_from_text(work, request))


def fuse(work: Work, task: GenerateInput, begun: Begun) -> Made:
    return Made(begun.seed, begun.canvas.steps, painted(work, Generator, begun.canvas))


def output(work: Work, task: GenerateInput, made: Made) -> GenerateResult:
    work.artifact("image", png(made.pixels), "image/png")
    height, width, _ = made.pixels.shape
    return GenerateResult(seed=made.seed, steps=made.steps, width=width, height=height)


def _size(generator: Generator, task: GenerateInput) -> tuple[int, int]:
    """Return width and height in pixels; a side that is not given keeps the shape of the model's own size."""
    best_width, best_height = generator.size
    match task.width, task.height:
        case None, None:
            size = best_width, best_height
        case int(width), None:
            size = width, _side(width * best_height / best_width, generator.largest)
        case None, int(height):
            size = _side(height * best_width / best_height, generator.largest), height
        case int(width), int(height):
            size = width, height
    for name, side in zip(("width", "height"), size, strict=True):
        if side > generator.largest:
            raise NotOffered(
                f"{name} is {side} px; this model's pictures have sides of {generator.largest} px at most",
                pointer=f"/input/{name}",
            )
    return size


def _side(wanted: float, largest: int) -> int:
    return min(max(round(wanted / _GRAIN) * _GRAIN, _LEAST), largest)


#: Painting is nearly all of it.
PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output, efforts=(1.0, 1.0, 36.0, 2.0))
