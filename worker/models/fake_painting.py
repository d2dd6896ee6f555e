"""Stand-ins for what makes pictures: a style is a colour, and a text's picture is the colour it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.media.views import View
from worker.models.capabilities import (
    Canvas,
    GenerationRequest,
    Model,
    ModelCard,
    Pixels,
    StyleRequest,
)
from worker.models.fake import COLOURS, NAMES, Fake, Pace, obey, refuse_poison
from worker.models.sources import Source

_STEPS = 4
_SIDE = 64
_LARGEST = 512
_NOISE = 8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeCanvas:
    """A `Canvas`: each step moves it evenly from where it began to where it ends."""

    first: NDArray[np.float32]
    last: NDArray[np.float32]
    #: Obeyed at each step.
    text: str
    step: int
    steps: int
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.first.shape

    @property
    def pixels(self) -> Pixels:
        """Return what it shows now."""
        share = np.float32(self.step / self.steps)
        mixed = self.first + (self.last - self.first) * share
        return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


class _Painting(Fake):
    """What both of them are."""

    def advance(self, canvases: Sequence[Canvas]) -> list[Canvas]:
        for canvas in canvases:
            obey(_own(canvas).text)
        self._pace.spend(len(canvases))
        return [replace(_own(canvas), step=canvas.step + 1) for canvas in canvases]

    def render(self, canvases: Sequence[Canvas]) -> list[Pixels]:
        return [_own(canvas).pixels for canvas in canvases]


class FakeStylizer(_Painting):
    """A `Stylizer`: the picture turns into the style's colour, as far as its strength goes."""

    @property
    def styles(self) -> Sequence[str]:
        return NAMES

    @property
    def view(self) -> View:
        return View(width=_SIDE, height=_SIDE, fit="inside")

    @property
    def style_view(self) -> View:
        return View(width=_SIDE, height=_SIDE, fit="crop")

    def begin(self, requests: Sequence[StyleRequest]) -> list[Canvas]:
        refuse_poison([one.image for one in requests])
        return [self._begun(one) for one in requests]

    def _begun(self, request: StyleRequest) -> FakeCanvas:
        if request.style_image is not None:
            colour = request.style_image.reshape(-1, 3).mean(axis=0)
        else:
            colour = np.array(COLOURS[request.style or NAMES[0]])
        first = request.image.astype(np.float32)
        last = first + (colour.astype(np.float32) - first) * np.float32(request.strength)
        return FakeCanvas(first=first, last=last, text="", step=0, steps=request.steps or _STEPS)


class FakeGenerator(_Painting):
    """A `Generator`: seeded noise around the colour that the text names, or grey."""

    @property
    def size(self) -> tuple[int, int]:
        return _SIDE, _SIDE

    @property
    def largest(self) -> int:
        return _LARGEST

    def begin(self, requests: Sequence[GenerationRequest]) -> list[Canvas]:
        return [_begun(one) for one in requests]


def load(source: Source) -> Model:
    """Return the stand-in for the source's capability."""
    kinds: dict[str, Callable[[ModelCard, Pace], Model]] = {
        "Stylizer": FakeStylizer,
        "Generator": FakeGenerator,
    }
    return kinds[source.capability](source.card, Pace(**source.options))


def _begun(request: GenerationRequest) -> FakeCanvas:
    random = np.random.default_rng(request.seed)
    shape = (request.height, request.width, 3)
    name = next((word for word in request.prompt.lower().split() if word in COLOURS), "grey")
    noise = random.normal(0.0, _NOISE, shape).astype(np.float32)
    last = np.array(COLOURS[name], dtype=np.float32) + noise
    if request.image is None:
        first = random.uniform(0, 255, shape).astype(np.float32)
    else:
        first = request.image.astype(np.float32)
        last = first + (last - first) * np.float32(request.strength)
    return FakeCanvas(first=first, last=last, text=request.prompt, step=0, steps=request.steps or _STEPS)


def _own(canvas: Canvas) -> FakeCanvas:
    if not isinstance(canvas, FakeCanvas):
        raise TypeError(f"a {type(canvas).__name__} is no canvas of this model")
    return canvas
