"""`stylize`: an image in the manner of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import UnknownStyle
from shared.schemas.stylize import StylizeInput, StylizeResult
from worker.media.encode import png
from worker.models.capabilities import Canvas, Pixels, StyleRequest, Stylizer
from worker.pipeline import Pipeline, Work
from worker.stages.painting import begun_in_style, painted

#: Names in the answer to a style that does not exist.
_MOST_NAMES = 30


@dataclass(frozen=True, slots=True)
class Extracted:
    """What is to be painted, and the picture whose manner it is to have, if one was given."""

    image: Pixels
    style_image: Pixels | None


def extract(work: Work, task: StylizeInput) -> Extracted:
    stylizer = work.model(Stylizer)
    if task.style.name is not None and task.style.name not in stylizer.styles:
        raise UnknownStyle(_lacking(task.style.name, stylizer.styles), pointer="/input/style/name")
    (image,) = work.images([task.image], stylizer.view)
    if task.style.image is None:
        return Extracted(image, None)
    (style_image,) = work.images([task.style.image], stylizer.style_view)
    return Extracted(image, style_image)


def convert(work: Work, task: StylizeInput, extracted: Extracted) -> Canvas:
    request = StyleRequest(
        image=extracted.image,
        style=task.style.name,
        style_image=extracted.style_image,
        strength=task.strength,
        steps=task.steps,
    )
    return begun_in_style(work, request)


def fuse(work: Work, task: StylizeInput, canvas: Canvas) -> Pixels:
    return painted(work, Stylizer, canvas)


def output(work: Work, task: StylizeInput, pixels: Pixels) -> StylizeResult:
    work.artifact("image", png(pixels), "image/png")
    height, width, _ = pixels.shape
    return StylizeResult(width=width, height=height)


def _lacking(name: str, styles: Sequence[str]) -> str:
    if not styles:
        return f"there is no style {name!r}: this model has none of its own; give a style image"
    named = ", ".join(styles[:_MOST_NAMES])
    more = f" and {len(styles) - _MOST_NAMES} more" if len(styles) > _MOST_NAMES else ""
    return f"there is no style {name!r}; there are {named}{more}"


#: Painting is most of it.
PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output, efforts=(1.0, 1.0, 7.0, 1.0))
