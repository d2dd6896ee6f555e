"""Style transfer by optimisation (Gatys et al. 2016): pixels move until VGG16 sees another picture's style.

The sum that gets smaller, for one picture:

    content + strength * (STYLE * mean of the five style layers + VARIATION * total variation)

Content and style are squared distances between VGG16's responses, at conv4_2, and between Gram matrices, at
conv1_1 to conv5_1, each in shares of what it should be: the paper's own are in the units of its weights,
which other checkpoints do not share. Adam (Kingma and Ba 2015) in place of L-BFGS: a step is one pass, and
pictures in one batch do not share a line search. It begins from the picture itself, not from noise, so that
no seed is in it, and a strength of 0 moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from shared.errors import BadConfiguration, ModelUnavailable
from shared.settings import Limits
from worker.media.images import framed
from worker.media.views import View
from worker.models import checkpoints
from worker.models.capabilities import Canvas, ModelCard, Pixels, StyleRequest
from worker.models.finite import require_finite
from worker.models.networks.gatys import Perception, distance, variation
from worker.models.networks.torchvision_cnn import vgg16_features
from worker.models.placing import card_at
from worker.models.sources import Source

#: Chosen by eye among 0.3, 1 and 3, with ImageNet's VGG16, on one photograph in the manner of painted waves:
#: after 80 steps at 224 pixels 0.3 hardly shows; with 3 the manner is plain, and what is shown still known.
_STYLE = 3.0
_VARIATION = 0.1
#: Of values in [0, 1].
_RATE = 0.02
#: Adam's own for both moments.
_FADE = (0.9, 0.999)
#: Small beside most pixels' gradients (the median of two photographs is 4 and 11, the sum multiplied by the
#: pixels). With Adam's own 1e-8, a gradient of nothing but rounding, which differs from batch to batch, makes
#: a whole step.
_EPSILON = 0.1
#: Longest side and steps, by the kind of device.
_SIDE = {"cuda": 384, "cpu": 256}
_STEPS = {"cuda": 150, "cpu": 60}


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimised:
    """A `Canvas`: pixels, what they are to become, and Adam's memory. All tensors are on the device."""

    #: float32 of shape (3, height, width), in [0, 1].
    pixels: torch.Tensor
    #: Adam's first and second moments, each shaped as the pixels.
    moments: tuple[torch.Tensor, torch.Tensor]
    #: The picture's own responses at conv4_2, (C, h, w).
    content: torch.Tensor
    #: The style's Gram matrices, each (C, C).
    style: tuple[torch.Tensor, ...]
    strength: float
    step: int
    steps: int
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.pixels.shape[1:], 3)


class Gatys:
    """A `Stylizer`."""

    def __init__(self, card: ModelCard, perception: Perception, styles: dict[str, Pixels]) -> None:
        """Take over a network that is on its device.

        Args:
            card: what it says of itself.
            perception: float32.
            styles: pictures of its own styles, by name.
        """
        self._card = card
        self._perception = perception
        self._device = torch.device(card.device)
        self._styles = styles

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def styles(self) -> Sequence[str]:
        return tuple(self._styles)

    @property
    def view(self) -> View:
        return _view(self._device.type)

    @property
    def style_view(self) -> View:
        return self.view

    def warm_up(self) -> None:
        grey = np.full((self.view.height, self.view.width, 3), 128, dtype=np.uint8)
        request = StyleRequest(image=grey, style=None, style_image=grey, strength=1.0, steps=1)
        self.render(self.advance(self.begin([request])))

    def begin(self, requests: Sequence[StyleRequest]) -> list[Canvas]:
        return [self._begun(one) for one in requests]

    def advance(self, canvases: Sequence[Canvas]) -> list[Canvas]:
        """Return each canvas after one step of Adam on its own sum."""
        if not canvases:
            return []
        given = [_own(canvas) for canvas in canvases]
        pixels = torch.stack([one.pixels for one in given])
        gradient = self._gradient(given, pixels)
        steps = torch.tensor([one.step + 1 for one in given], device=self._device).view(-1, 1, 1, 1)
        first, second = (
            torch.stack(moments) for moments in zip(*(one.moments for one in given), strict=True)
        )
        first = first.lerp(gradient, 1 - _FADE[0])
        second = second.lerp(gradient.square(), 1 - _FADE[1])
        direction = first / (1 - _FADE[0] ** steps)
        scale = (second / (1 - _FADE[1] ** steps)).sqrt() + _EPSILON
        # Without style the gradient is rounding alone.
        rates = torch.tensor([_RATE if one.strength else 0.0 for one in given], device=self._device)
        pixels = (pixels - rates.view(-1, 1, 1, 1) * direction / scale).clamp(0.0, 1.0)
        # Waits for the device: a step that has returned is done, and nothing runs on after a cancel.
        require_finite(pixels.sum(dim=(1, 2, 3)).cpu().numpy())
        return [
            replace(one, pixels=moved, moments=(mean, square), step=one.step + 1)
            for one, moved, mean, square in zip(given, pixels, first, second, strict=True)
        ]

    def render(self, canvases: Sequence[Canvas]) -> list[Pixels]:
        return [
            (_own(canvas).pixels * 255.0).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
            for canvas in canvases
        ]

    def _begun(self, request: StyleRequest) -> Optimised:
        style = self._styles[request.style] if request.style is not None else request.style_image
        if style is None:
            raise ValueError("a style request names a style or brings a picture")
        pixels = self._values(request.image)
        with torch.no_grad():
            content = self._perception(pixels[None]).content[0]
            grams = tuple(one[0] for one in self._perception(self._values(style)[None]).style)
        return Optimised(
            pixels=pixels,
            moments=(torch.zeros_like(pixels), torch.zeros_like(pixels)),
            content=content,
            style=grams,
            strength=request.strength,
            step=0,
            steps=request.steps or _STEPS[self._device.type],
        )

    def _values(self, image: Pixels) -> torch.Tensor:
        """Return a picture as float32 of shape (3, H, W), in [0, 1], on the device."""
        return torch.tensor(image, device=self._device).permute(2, 0, 1).float() / 255.0

    @torch.enable_grad()
    def _gradient(self, canvases: Sequence[Optimised], pixels: torch.Tensor) -> torch.Tensor:
        """Return where each canvas's own sum grows, for a pixel of a picture of one pixel: (N, 3, H, W).

        The sums are independent, so one backward pass does for all.
        """
        pixels = pixels.detach().requires_grad_()
        seen = self._perception(pixels)
        content = distance(seen.content, torch.stack([one.content for one in canvases]))
        wanted = [torch.stack(layer) for layer in zip(*(one.style for one in canvases), strict=True)]
        layers = [distance(found, grams) for found, grams in zip(seen.style, wanted, strict=True)]
        style = torch.stack(layers).mean(dim=0)
        strength = torch.tensor([one.strength for one in canvases], device=self._device)
        sums = content + strength * (_STYLE * style + _VARIATION * variation(pixels))
        (gradient,) = torch.autograd.grad(sums.sum(), pixels)
        return gradient * (pixels.shape[2] * pixels.shape[3])


def load(source: Source) -> Gatys:
    """Load VGG16's convolutions from a folder that holds torchvision's weights as `model.safetensors`.

    Option `styles`: names to picture files in the folder. Nothing is computed below float32: a step is a
    small difference between large sums.
    """
    folder = source.require_folder()
    card = card_at(source.card, torch.float32)
    device = torch.device(card.device)
    perception = (
        Perception(vgg16_features(checkpoints.tensors(folder, prefix="features."))).float().to(device)
    )
    view = _view(device.type)
    styles = {name: _picture(folder, file, view) for name, file in source.options.get("styles", {}).items()}
    return Gatys(card, perception.to(memory_format=torch.channels_last), styles)


def _view(device: str) -> View:
    return View(width=_SIDE[device], height=_SIDE[device], fit="inside")


def _picture(folder: Path, file: str, view: View) -> Pixels:
    try:
        content = (folder / file).read_bytes()
    except OSError as error:
        raise ModelUnavailable(f"{folder.name} lacks the style {file}: {error}") from error
    return np.asarray(framed(content, view, Limits()).image)


def _own(canvas: Canvas) -> Optimised:
    if not isinstance(canvas, Optimised):
        raise BadConfiguration(f"a {type(canvas).__name__} is no canvas of this model")
    return canvas
