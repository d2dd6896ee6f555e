"""Stand-ins for every capability, deterministic, without weights: pictures are colours, texts are words.

A red picture and the text "a red door" are close in the joint space, so tests can tell right from wrong.
A text may carry a command, to make the device misbehave on purpose:

    fake:fail           raises RuntimeError for any batch that holds it
    fake:memory         raises MemoryError for any batch that holds it
    fake:exit           ends the process
    fake:segv           ends it as a crash in native code does
    fake:sleep=SECONDS  takes that long
    fake:hang           never answers
    fake:hold           never answers, in native code that does not let any other thread run either
    fake:nan            answers with NaN, which no model may: ModelFailed
    fake:allocate=BYTES takes so much memory while it answers

A picture that is `POISON` in every pixel fails like `fake:fail`. A manifest's `options` may hold
`seconds_per_batch`, `seconds_per_item` and `largest_batch` (a longer batch raises MemoryError).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from worker.media.views import View
from worker.models.capabilities import (
    ImageFeatures,
    Model,
    ModelCard,
    Pixels,
    RegionFeatures,
    Vector,
    Vectors,
)
from worker.models.finite import require_finite
from worker.models.sources import Source
from worker.models.vectors import unit

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (220, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 70, 200),
    "yellow": (240, 220, 40),
    "orange": (240, 140, 30),
    "purple": (130, 50, 160),
    "pink": (250, 160, 190),
    "brown": (120, 75, 40),
    "grey": (128, 128, 128),
    "cyan": (60, 210, 220),
}
#: The colour of a picture that no batch survives.
POISON = (255, 0, 254)

NAMES = tuple(COLOURS)
_RGB = np.array(list(COLOURS.values()), dtype=np.float32)
_HASHED = 16
_CELLS = 4
_CELL_PIXELS = 8
#: Of squared distance in units of 255: a colour 30 levels away is still named with some certainty.
_SOFTNESS = 0.02
_COMMAND = re.compile(r"fake:(fail|memory|exit|segv|hang|hold|nan|(?:sleep|allocate)=\d+(?:\.\d+)?)")
_CRASHED = 70
_AN_HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How slow, and how small, the device pretends to be."""

    seconds_per_batch: float = 0.0
    seconds_per_item: float = 0.0
    largest_batch: int | None = None

    def spend(self, items: int) -> None:
        if self.largest_batch is not None and items > self.largest_batch:
            raise MemoryError(f"{items} items; this device holds {self.largest_batch}")
        if seconds := self.seconds_per_batch + items * self.seconds_per_item:
            time.sleep(seconds)


class Fake:
    """What every stand-in is: slow as told, with a card of its own."""

    def __init__(self, card: ModelCard, pace: Pace) -> None:
        self._card = card
        self._pace = pace

    @property
    def card(self) -> ModelCard:
        return self._card

    def warm_up(self) -> None:
        """Nothing is lazy here."""


class FakeTextEncoder(Fake):
    """A `TextEncoder`: colour words, and every word hashed."""

    @property
    def dim(self) -> int:
        return len(NAMES) + _HASHED

    def warm_up(self) -> None:
        self.encode_texts(["warm up"])

    def encode_texts(self, texts: Sequence[str]) -> list[Vector]:
        answers = _answer(texts)
        self._pace.spend(len(texts))
        return answers


class FakeImageEncoder(Fake):
    """An `ImageEncoder`: the mean colour of the picture, or of each of 4 x 4 cells."""

    @property
    def dim(self) -> int:
        return 3

    @property
    def vocabulary(self) -> Sequence[str]:
        return NAMES

    @property
    def view(self) -> View:
        return View(width=_CELL_PIXELS, height=_CELL_PIXELS, fit="crop", resample="bilinear")

    @property
    def region_view(self) -> View:
        side = _CELLS * _CELL_PIXELS
        return View(width=side, height=side, fit="stretch", resample="bilinear")

    def warm_up(self) -> None:
        side = _CELLS * _CELL_PIXELS
        self.encode_regions([np.zeros((side, side, 3), dtype=np.uint8)])

    def encode_images(self, images: Sequence[Pixels]) -> list[ImageFeatures]:
        self._look(images)
        means = [image.reshape(-1, 3).mean(axis=0, dtype=np.float32) for image in images]
        return [ImageFeatures(pooled=mean / 255, probabilities=named(mean)) for mean in means]

    def encode_regions(self, images: Sequence[Pixels]) -> list[RegionFeatures]:
        self._look(images)
        grids = [
            image.reshape(_CELLS, _CELL_PIXELS, _CELLS, _CELL_PIXELS, 3).mean(axis=(1, 3), dtype=np.float32)
            for image in images
        ]
        return [RegionFeatures(grid=grid / 255, probabilities=named(grid)) for grid in grids]

    def _look(self, images: Sequence[Pixels]) -> None:
        refuse_poison(images)
        self._pace.spend(len(images))


class FakeJointEncoder(Fake):
    """A `JointEncoder`: the text encoder's space; a picture is its colours' words."""

    @property
    def dim(self) -> int:
        return len(NAMES) + _HASHED

    @property
    def vocabulary_vectors(self) -> Vectors:
        return np.stack([text_vector(name) for name in NAMES])

    def warm_up(self) -> None:
        self.embed_texts(["warm up"])

    def embed_texts(self, texts: Sequence[str]) -> list[Vector]:
        answers = _answer(texts)
        self._pace.spend(len(texts))
        return answers

    def project_images(self, features: Sequence[ImageFeatures]) -> list[Vector]:
        self._pace.spend(len(features))
        vectors = [unit(one.probabilities @ self.vocabulary_vectors) for one in features]
        require_finite(*vectors)
        return vectors

    def project_regions(self, features: Sequence[RegionFeatures]) -> list[Vectors]:
        self._pace.spend(len(features))
        return [unit(one.probabilities.reshape(-1, len(NAMES)) @ self.vocabulary_vectors) for one in features]


def load(source: Source) -> Model:
    """Return the stand-in for the source's capability."""
    kinds: dict[str, Callable[[ModelCard, Pace], Model]] = {
        "TextEncoder": FakeTextEncoder,
        "ImageEncoder": FakeImageEncoder,
        "JointEncoder": FakeJointEncoder,
    }
    return kinds[source.capability](source.card, Pace(**source.options))


def _answer(texts: Sequence[str]) -> list[Vector]:
    """Return each text's vector, once its command is obeyed."""
    vectors = []
    for text in texts:
        command = obey(text)
        vectors.append(text_vector(text) * (np.float32(np.nan) if command == "nan" else np.float32(1)))
    require_finite(*vectors)
    return vectors


def obey(text: str) -> str:
    """Do what a text commands the device to, and return the command; empty: none."""
    found = _COMMAND.search(text)
    if found is None:
        return ""
    command, _, number = found[1].partition("=")
    match command:
        case "fail":
            raise RuntimeError("fake:fail is in this batch")
        case "memory":
            raise MemoryError("fake:memory is in this batch")
        case "sleep":
            time.sleep(float(number or 0))
        case "allocate":
            # Ones, for the kernel gives no page to zeros that nobody has written.
            np.ones(int(float(number or 0)), dtype=np.uint8)
        case "exit" | "segv" | "hang" | "hold":
            _end(command)
    return command


def _end(command: str) -> NoReturn:
    """Let this process do nothing any more."""
    match command:
        case "exit":
            os._exit(_CRASHED)
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hold":
            # PyDLL keeps the interpreter's lock during the call.
            ctypes.PyDLL(None).sleep(int(_AN_HOUR_S))
    while True:
        time.sleep(_AN_HOUR_S)


def refuse_poison(images: Sequence[Pixels]) -> None:
    """Raise RuntimeError for a batch that holds a picture that is `POISON` in every pixel."""
    if any((image == POISON).all() for image in images):
        raise RuntimeError("a poisoned picture is in this batch")


def text_vector(text: str) -> Vector:
    """Return colour words in the first places, every other word hashed and faint in the rest."""
    vector = np.zeros(len(NAMES) + _HASHED, dtype=np.float32)
    for word in re.findall(r"\w+", text.lower()) or [text]:
        if word in COLOURS:
            vector[NAMES.index(word)] += 1.0
        else:
            digest = hashlib.sha256(word.encode(errors="surrogatepass")).digest()
            vector[len(NAMES) + digest[0] % _HASHED] += 0.1 if digest[1] % 2 else -0.1
    return unit(vector) if vector.any() else unit(np.ones_like(vector))


def named(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return over the last axis how well each name fits the colour; sums to 1."""
    distances = (((colours[..., None, :] - _RGB) / 255) ** 2).sum(axis=-1)
    fits = np.exp(-(distances - distances.min(axis=-1, keepdims=True)) / _SOFTNESS)
    shares: NDArray[np.float32] = (fits / fits.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares
