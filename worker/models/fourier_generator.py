"""Pictures from texts without a network that was trained to paint: a spectrum climbs towards a text.

Feature visualisation (Olah et al. 2017, Distill) in the joint space. The text names the classes of the image
encoder's vocabulary that are nearest to it; gradient ascent moves a picture's spectrum (`fourier`) until the
encoder sees these classes in random views of it, with features like those of photographs
(`networks.natural_classes`). What comes out evokes the subject, in many pieces, as such pictures do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from shared.errors import BadConfiguration
from worker.models import fourier
from worker.models.capabilities import Canvas, GenerationRequest, JointEncoder, ModelCard, Pixels
from worker.models.finite import require_finite
from worker.models.networks import efficientnet_lite
from worker.models.networks.natural_classes import NaturalClasses
from worker.models.runtimes.eager import prepared_device
from worker.models.sources import Source
from worker.models.views_at_random import views

_SIZE = (256, 256)
_LARGEST = 512
#: Some sixteen seconds on a CPU: 0.20 s a step at 256 x 256.
_STEPS = 80
#: On a CPU. Two threads take 0.12 s a step where both cores are free; beside the rest of the service, and a
#: few busy neighbours, they wait for each other again and again, and a step took 2.3 s.
_THREADS = 1
#: Classes that a text names, and the temperature of the softmax over their cosines with it.
_CLASSES = 10
_TEMPERATURE = 0.06
#: What a step is worth: of the classes' logits, of the joint space's cosine, of the photographs' features and
#: colours, of smoothness. Chosen by eye among 16 settings, on pictures of a macaw and a volcano.
_COSINE = 5.0
_NATURAL = 0.5
_COLOURS = 3.0
_SMOOTH = 50.0
#: Of ImageNet's pixels, RGB in [0, 1].
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
#: Adam (Kingma and Ba 2015); the rate rises over the first steps and falls along half a cosine to a tenth.
_RATE = 0.05
_RISING_STEPS = 5
_LEAST_RATE = 0.1
_BETAS = (0.9, 0.99)
_EPSILON = 1e-8
#: How a picture that was given holds back: the gap to it, in squared levels of [0, 1], at strength 0.
_HOLD = 2000.0
_WARM_SIDE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a text asks for."""

    #: In the joint space, float32 of shape (D,).
    vector: torch.Tensor
    #: int64 of shape (classes,), and their weights, which sum to 1.
    classes: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class FourierCanvas:
    """A `Canvas`. Nothing in it is ever changed: a step that failed can be taken again."""

    goal: Goal
    width: int
    height: int
    seed: int
    steps: int
    step: int
    #: float32 of shape (3, height, width // 2 + 1, 2), and Adam's two moments of it.
    coefficients: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    #: float32 of shape (3, height, width) in [0, 1]: the picture to start from, if one was given.
    start: torch.Tensor | None
    #: How far it may go from there, in [0, 1].
    strength: float
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.height, self.width, 3


class FourierGenerator:
    """A `Generator` that is `Tuned`.

    Canvases of one batch are painted one after the other, so that neighbours cannot change a picture by the
    least bit: eighty steps of ascent make a large difference out of the last digit of a sum. On a CPU that
    costs nothing, for eager torch takes as long for each picture of a batch as for one alone.
    """

    def __init__(
        self, card: ModelCard, joint: JointEncoder, judge: NaturalClasses, device: torch.device
    ) -> None:
        self._card = card
        self._joint = joint
        self._judge = judge
        self._device = device
        self._labels = torch.from_numpy(np.array(joint.vocabulary_vectors)).to(device)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def size(self) -> tuple[int, int]:
        return _SIZE

    @property
    def largest(self) -> int:
        return _LARGEST

    @property
    def batch_limits(self) -> Mapping[str, int]:
        return {"advance": 1}

    def warm_up(self) -> None:
        request = GenerationRequest(
            prompt="warm up",
            width=_WARM_SIDE,
            height=_WARM_SIDE,
            steps=1,
            seed=0,
            image=None,
            strength=1.0,
        )
        self.render(self.advance(self.begin([request])))

    def begin(self, requests: Sequence[GenerationRequest]) -> list[Canvas]:
        if not requests:
            return []
        vectors = self._joint.embed_texts([request.prompt for request in requests])
        return [
            self._begun(request, self._goal(torch.from_numpy(np.array(vector)).to(self._device)))
            for request, vector in zip(requests, vectors, strict=True)
        ]

    def advance(self, canvases: Sequence[Canvas]) -> list[Canvas]:
        return [self._advanced(_own(canvas)) for canvas in canvases]

    @torch.inference_mode()
    def render(self, canvases: Sequence[Canvas]) -> list[Pixels]:
        return [_pixels(fourier.decoded(one.coefficients, one.width)) for one in map(_own, canvases)]

    def _goal(self, vector: torch.Tensor) -> Goal:
        nearest = (self._labels @ vector).topk(min(_CLASSES, len(self._labels)))
        weights = (nearest.values / _TEMPERATURE).softmax(dim=0)
        return Goal(vector=vector, classes=nearest.indices, weights=weights)

    def _begun(self, request: GenerationRequest, goal: Goal) -> FourierCanvas:
        noise = fourier.noise(request.height, request.width, _random(request.seed, 0)).to(self._device)
        coefficients, start = noise, None
        if request.image is not None:
            start = _picture(request.image).to(self._device)
            # Towards strength 1 the picture fades into what no picture starts from.
            kept = 1.0 - request.strength**2
            coefficients = fourier.encoded(start) * kept + noise * request.strength
        return FourierCanvas(
            goal=goal,
            width=request.width,
            height=request.height,
            seed=request.seed,
            steps=request.steps or _STEPS,
            step=0,
            coefficients=coefficients,
            first=torch.zeros_like(coefficients),
            second=torch.zeros_like(coefficients),
            start=start,
            strength=1.0 if start is None else request.strength,
        )

    def _advanced(self, canvas: FourierCanvas) -> FourierCanvas:
        """Return the canvas after one step of Adam."""
        slope = self._slope(canvas)
        step = canvas.step + 1
        first = canvas.first.lerp(slope, 1 - _BETAS[0])
        second = canvas.second.lerp(slope.square(), 1 - _BETAS[1])
        steady = first / (1 - _BETAS[0] ** step)
        spread = (second / (1 - _BETAS[1] ** step)).sqrt() + _EPSILON
        moved = canvas.coefficients - _rate(canvas) * steady / spread
        return replace(canvas, step=step, coefficients=moved, first=first, second=second)

    def _slope(self, canvas: FourierCanvas) -> torch.Tensor:
        """Return the gradient of what is to become small."""
        with torch.enable_grad():
            coefficients = canvas.coefficients.clone().requires_grad_(True)
            loss = self._loss(canvas, fourier.decoded(coefficients, canvas.width))
            (slope,) = torch.autograd.grad(loss, coefficients)
        require_finite(loss.detach().cpu().numpy(), slope.cpu().numpy())
        return slope

    def _loss(self, canvas: FourierCanvas, picture: torch.Tensor) -> torch.Tensor:
        goal = canvas.goal
        judged: tuple[torch.Tensor, torch.Tensor]
        judged = self._judge(views(picture, _random(canvas.seed, canvas.step + 1)))
        logits, gap = judged
        evidence = (logits[:, goal.classes] @ goal.weights).mean()
        seen = logits.softmax(dim=1) @ self._labels
        cosine = functional.cosine_similarity(seen, goal.vector[None]).mean()
        loss = _NATURAL * gap + _COLOURS * _off_colour(picture) + _SMOOTH * _roughness(picture)
        if canvas.start is not None:
            loss = loss + _HOLD * (1 - canvas.strength) * (picture - canvas.start).square().mean()
        return loss - evidence - _COSINE * cosine


def load(source: Source) -> FourierGenerator:
    """Load the network that the image encoder runs, this time with gradients."""
    joint = source.over.get("JointEncoder")
    if not isinstance(joint, JointEncoder):
        raise BadConfiguration(f"{source.card.id} is built over a JointEncoder")
    device = prepared_device(dataclasses.replace(source.place, threads=_THREADS))
    judge = NaturalClasses(efficientnet_lite.network(source.require_weights())).eval().to(device)
    return FourierGenerator(dataclasses.replace(source.card, runtime="eager"), joint, judge, device)


def _random(seed: int, step: int) -> torch.Generator:
    """Return what a canvas draws from at a step: the same for the same seed, whoever paints beside it."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _rate(canvas: FourierCanvas) -> float:
    rising = min(1.0, (canvas.step + 1) / _RISING_STEPS)
    falling = 0.5 * (1 + math.cos(math.pi * canvas.step / canvas.steps))
    return _RATE * canvas.strength * rising * (_LEAST_RATE + (1 - _LEAST_RATE) * falling)


def _off_colour(picture: torch.Tensor) -> torch.Tensor:
    """Return how far the colours' means and deviations are from ImageNet's, in its deviations, squared."""
    usual = picture.new_tensor(_DEVIATION)
    variance, mean = torch.var_mean(picture, dim=(1, 2))
    off = (mean - picture.new_tensor(_MEAN)) / usual
    spread = variance.sqrt() / usual - 1
    distance: torch.Tensor = off.square().mean() + spread.square().mean()
    return distance


def _roughness(picture: torch.Tensor) -> torch.Tensor:
    """Return the mean square of the differences between neighbours."""
    across, down = picture.diff(dim=2), picture.diff(dim=1)
    roughness: torch.Tensor = across.square().mean() + down.square().mean()
    return roughness


def _picture(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255.0


def _pixels(picture: torch.Tensor) -> Pixels:
    levels = (picture * 255.0).round().clamp(0, 255).to(torch.uint8)
    pixels: Pixels = levels.permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


def _own(canvas: Canvas) -> FourierCanvas:
    if not isinstance(canvas, FourierCanvas):
        raise TypeError(f"a {type(canvas).__name__} is no canvas of this model")
    return canvas
