"""What a task may ask of a model. A task names a capability, never a model.

Every operation takes a sequence and returns a list of the same length, in order: that is what lets the
engine form one batch from many jobs, and split a failing one. Operations run on the device thread only.
No answer holds a NaN or an infinity: a batch whose answers would raises `ModelFailed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from worker.media.views import View

#: float32 of shape (D,), L2 norm 1.
Vector = NDArray[np.float32]
#: float32 of shape (N, D), rows of L2 norm 1.
Vectors = NDArray[np.float32]
#: uint8 of shape (height, width, 3), RGB, upright.
Pixels = NDArray[np.uint8]
#: x0, y0, x1, y1 in shares of a picture's width and height, in [0, 1], x0 < x1 and y0 < y1.
Box = tuple[float, float, float, float]
#: A label, an answer or a word, and what speaks for it.
Scored = tuple[str, float]

#: What an `Answerer` says where it does not know, or cannot answer such a question.
UNKNOWN = "unknown"


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


# Requests are named tuples: the engine puts those whose members have like shapes into one batch.


class CaptionRequest(NamedTuple):
    """A picture to put into a sentence."""

    #: In the captioner's `view`.
    image: Pixels
    #: How the sentence begins.
    prompt: str | None
    #: The longest sentence, in the model's tokens.
    max_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """A sentence about a picture."""

    #: With its prompt, if it had one.
    text: str
    #: What the sentence rests on, surest first, scores in [0, 1]; empty where the model gives no account.
    evidence: Sequence[Scored] = ()


@runtime_checkable
class Captioner(Model, Protocol):
    """Pictures to sentences."""

    @property
    def view(self) -> View: ...

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        """Return a sentence for each picture."""


class Question(NamedTuple):
    """A question about a picture."""

    #: In the answerer's `view`.
    image: Pixels
    text: str
    #: The answers to choose from; none: any.
    candidates: tuple[str, ...]


@runtime_checkable
class Answerer(Model, Protocol):
    """Questions about pictures to answers."""

    @property
    def view(self) -> View: ...

    def answer(self, questions: Sequence[Question]) -> list[Sequence[Scored]]:
        """Return for each question at least one answer, surest first, confidences in [0, 1].

        Given candidates, all of them and nothing else; otherwise `UNKNOWN` may stand first.
        """


class DetectionRequest(NamedTuple):
    """A picture to find objects in."""

    #: In the detector's `view`.
    image: Pixels
    #: What an `OpenDetector` looks for, at least one; for a `Detector`, none.
    labels: tuple[str, ...]
    #: Objects below this score are left out; None: the model's own.
    threshold: float | None
    max_objects: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """An object in a picture."""

    label: str
    #: In [0, 1].
    score: float
    box: Box


@runtime_checkable
class Detector(Model, Protocol):
    """Pictures to objects that the model has names for."""

    @property
    def view(self) -> View: ...

    @property
    def vocabulary(self) -> Sequence[str]: ...

    def detect(self, requests: Sequence[DetectionRequest]) -> list[Sequence[Detection]]:
        """Return each picture's objects, surest first."""


@runtime_checkable
class OpenDetector(Model, Protocol):
    """Pictures to objects that the request has names for."""

    @property
    def view(self) -> View: ...

    def find(self, requests: Sequence[DetectionRequest]) -> list[Sequence[Detection]]:
        """Return each picture's objects, surest first; every label is one of the request's."""


class ExplanationRequest(NamedTuple):
    """A picture, and a text that may speak of it."""

    #: In the explainer's `view`.
    image: Pixels
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Where in a picture a text is, and what each of its words does for that."""

    #: How well the text fits the picture: their cosine, in [-1, 1].
    score: float
    #: float32 of shape (rows, columns) over the view, in [0, 1]: its largest is 1, or all are 0.
    heat: NDArray[np.float32]
    #: The text's words in order, each with what the score loses without it.
    tokens: Sequence[Scored]


@runtime_checkable
class Explainer(Model, Protocol):
    """Pairs of picture and text to a map of where the text is."""

    @property
    def view(self) -> View:
        """Return what `explain` takes; stretched or inside, so that the map covers the whole picture."""

    def explain(self, requests: Sequence[ExplanationRequest]) -> list[Explanation]:
        """Return each pair's explanation."""


@runtime_checkable
class Canvas(Protocol):
    """A picture in the making, the model's own; the engine batches those of like `shape` and `dtype`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (height, width, 3) of the picture to be."""

    @property
    def dtype(self) -> str:
        """Return whatever else those that share a batch must have in common."""

    @property
    def step(self) -> int:
        """Return how many steps are done."""

    @property
    def steps(self) -> int:
        """Return how many there are; at `step == steps` the picture is done."""


class StyleRequest(NamedTuple):
    """A picture to be painted in a manner."""

    #: In the stylizer's `view`.
    image: Pixels
    #: One of the stylizer's `styles`; None: that of `style_image`.
    style: str | None
    #: In the stylizer's `style_view`.
    style_image: Pixels | None
    #: In [0, 1]: 0 leaves the picture as it is.
    strength: float
    #: None: the model's own; one that knows its number of steps takes that.
    steps: int | None


@runtime_checkable
class Stylizer(Model, Protocol):
    """Pictures to pictures, in a named style or that of another picture, step by step."""

    @property
    def styles(self) -> Sequence[str]:
        """Return the names of its own styles; may be none."""

    @property
    def view(self) -> View:
        """Return what it paints on; `inside`, so that the picture keeps its shape."""

    @property
    def style_view(self) -> View: ...

    def begin(self, requests: Sequence[StyleRequest]) -> list[Canvas]:
        """Return a canvas for each request, no step done."""

    def advance(self, canvases: Sequence[Canvas]) -> list[Canvas]:
        """Return each canvas one step further; those given are used up."""

    def render(self, canvases: Sequence[Canvas]) -> list[Pixels]:
        """Return what each canvas shows now; it stays as it is."""


class GenerationRequest(NamedTuple):
    """A picture to be made from a text."""

    prompt: str
    #: In pixels, multiples of 8.
    width: int
    height: int
    #: None: the model's own.
    steps: int | None
    #: The same seed, request and model give the same picture on the same device, alone or in a batch.
    seed: int
    #: Where to start from, of this height and width; None: noise.
    image: Pixels | None
    #: In [0, 1]: how far from `image` the picture may go.
    strength: float


@runtime_checkable
class Generator(Model, Protocol):
    """Texts to pictures, step by step."""

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height that it makes best."""

    @property
    def largest(self) -> int:
        """Return the longest side that it makes, in pixels."""

    def begin(self, requests: Sequence[GenerationRequest]) -> list[Canvas]:
        """Return a canvas for each request, no step done."""

    def advance(self, canvases: Sequence[Canvas]) -> list[Canvas]:
        """Return each canvas one step further; those given are used up."""

    def render(self, canvases: Sequence[Canvas]) -> list[Pixels]:
        """Return what each canvas shows now; it stays as it is."""


class ClipRequest(NamedTuple):
    """A short stretch of a film."""

    #: uint8 of shape (frames, height, width, 3), RGB: `frames` of them, evenly spread, each in `view`.
    frames: NDArray[np.uint8]


@runtime_checkable
class VideoClassifier(Model, Protocol):
    """Short stretches of film to what happens in them."""

    @property
    def frames(self) -> int:
        """Return how many frames a clip has."""

    @property
    def view(self) -> View:
        """Return what each frame is to look like."""

    @property
    def vocabulary(self) -> Sequence[str]: ...

    def classify_clips(self, clips: Sequence[ClipRequest]) -> list[NDArray[np.float32]]:
        """Return for each clip float32 of shape (V,), over the vocabulary, sums to 1."""


class FusionRequest(NamedTuple):
    """A picture and the text beside it."""

    #: In the classifier's `view`.
    image: Pixels
    text: str


@runtime_checkable
class FusionClassifier(Model, Protocol):
    """Pairs of picture and text, fused by a trained layer, to one distribution: the article's own head."""

    @property
    def view(self) -> View: ...

    @property
    def vocabulary(self) -> Sequence[str]: ...

    def classify_pairs(self, requests: Sequence[FusionRequest]) -> list[NDArray[np.float32]]:
        """Return for each pair float32 of shape (V,), over the vocabulary, sums to 1."""


#: Every capability by the name that manifests and schemas use.
CAPABILITIES: dict[str, type[Model]] = {
    kind.__name__: kind
    for kind in (
        TextEncoder,
        ImageEncoder,
        JointEncoder,
        Captioner,
        Answerer,
        Detector,
        OpenDetector,
        Explainer,
        Stylizer,
        Generator,
        VideoClassifier,
        FusionClassifier,
    )
}
