"""What a task may ask of a model. A task names a capability, never a model.

Every operation takes a sequence and returns a list of the same length, in order: that is what lets the
engine form one batch from many jobs, and split a failing one. Operations run on the device thread only.
No answer holds a NaN or an infinity: a batch whose answers would raises `ModelFailed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from worker.media.views import View

#: float32 of shape (D,), L2 norm 1.
Vector = NDArray[np.float32]
#: float32 of shape (N, D), rows of L2 norm 1.
Vectors = NDArray[np.float32]
#: uint8 of shape (height, width, 3), RGB, upright.
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """Which model answered; part of every result."""

    #: The name people know it by, `sentence-transformers/all-MiniLM-L6-v2`.
    id: str
    #: A hub revision, or `sha256:<hex>` of the weight file.
    revision: str
    grade: Literal["starter", "full", "test"]
    licence: str
    #: `cpu`, `cuda:0`.
    device: str
    dtype: str
    #: What runs it: `eager` torch, `bf16`, `compiled`, `onnx`, or `numpy`.
    runtime: str = "eager"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFeatures:
    """What an image encoder sees in one whole picture."""

    #: float32 of shape (F,), not normalised.
    pooled: NDArray[np.float32]
    #: float32 of shape (V,), over the encoder's vocabulary, sums to 1.
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionFeatures:
    """What an image encoder sees in each cell of a grid laid over one whole picture."""

    #: float32 of shape (rows, columns, F): the last feature map, row 0 at the top.
    grid: NDArray[np.float32]
    #: float32 of shape (rows, columns, V): the classifier applied to each cell, sums to 1 in each cell.
    probabilities: NDArray[np.float32]


@runtime_checkable
class Model(Protocol):
    """What every loaded model tells of itself."""

    @property
    def card(self) -> ModelCard: ...

    def warm_up(self) -> None:
        """Run each operation once, so that the first job pays for no lazy work."""


@runtime_checkable
class Prepares(Protocol):
    """A model that does off the device thread what comes before its network, for each item by itself."""

    def prepare(self, method: str, items: Sequence[Any]) -> Sequence[Any]:
        """Return what `method` takes instead of these items, one for one and in order, to the same answers.

        Called in the threads of jobs, any number at a time. What needs nothing is returned as it is.
        """


@runtime_checkable
class Tuned(Protocol):
    """A model that knows how many items at a time it answers fastest."""

    @property
    def batch_limits(self) -> Mapping[str, int]:
        """Return the best batch size in items by method, `encode_images`; larger batches gain nothing."""


@runtime_checkable
class TextEncoder(Model, Protocol):
    """Texts to vectors of the text space."""

    @property
    def dim(self) -> int: ...

    def encode_texts(self, texts: Sequence[str]) -> list[Vector]:
        """Return one unit-length vector per text, float32 of shape (dim,); long texts are cut by tokens."""


@runtime_checkable
class ImageEncoder(Model, Protocol):
    """Pictures to features, and to probabilities over a vocabulary of its own."""

    @property
    def dim(self) -> int:
        """Return F, the length of `ImageFeatures.pooled`."""

    @property
    def vocabulary(self) -> Sequence[str]:
        """Return V labels, a few words each."""

    @property
    def view(self) -> View:
        """Return what `encode_images` takes."""

    @property
    def region_view(self) -> View:
        """Return what `encode_regions` takes; stretched, so that every part of the picture has its cell."""

    def encode_images(self, images: Sequence[Pixels]) -> list[ImageFeatures]:
        """Return the features of each picture, given in `view`."""

    def encode_regions(self, images: Sequence[Pixels]) -> list[RegionFeatures]:
        """Return the features of each cell of each picture, given in `region_view`."""


@runtime_checkable
class JointEncoder(Model, Protocol):
    """One space for texts and pictures: the conversion between the two."""

    @property
    def dim(self) -> int: ...

    @property
    def vocabulary_vectors(self) -> Vectors:
        """Return each label of the image encoder's vocabulary in the joint space, shape (V, dim)."""

    def embed_texts(self, texts: Sequence[str]) -> list[Vector]:
        """Return each text in the joint space, float32 of shape (dim,), unit length."""

    def project_images(self, features: Sequence[ImageFeatures]) -> list[Vector]:
        """Return each picture's features in the joint space, float32 of shape (dim,), unit length."""

    def project_regions(self, features: Sequence[RegionFeatures]) -> list[Vectors]:
        """Return each picture's cells, row by row: float32 of shape (rows * columns, dim), unit length."""


#: Every capability by the name that manifests and schemas use.
CAPABILITIES: dict[str, type[Model]] = {
    kind.__name__: kind for kind in (TextEncoder, ImageEncoder, JointEncoder)
}
