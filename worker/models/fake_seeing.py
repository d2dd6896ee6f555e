"""Stand-ins for what puts pictures into words and boxes: `worker/models/fake.py` tells how they see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.media.views import View
from worker.models.capabilities import (
    UNKNOWN,
    Caption,
    CaptionRequest,
    ClipRequest,
    Detection,
    DetectionRequest,
    Explanation,
    ExplanationRequest,
    FusionRequest,
    Model,
    ModelCard,
    Pixels,
    Question,
    Scored,
)
from worker.models.fake import COLOURS, NAMES, Fake, Pace, named, obey, refuse_poison, text_vector
from worker.models.sources import Source

_CELLS = 4
_CELL_PIXELS = 8
_CLIP_FRAMES = 4
#: A colour that covers less of a picture is no evidence.
_LEAST_SHARE = 0.05


class _Seeing(Fake):
    """What all of them are: blind to nothing but poison."""

    @property
    def view(self) -> View:
        side = _CELLS * _CELL_PIXELS
        return View(width=side, height=side, fit="stretch", resample="bilinear")

    def _look(self, images: Sequence[Pixels], *texts: str) -> None:
        for text in texts:
            obey(text)
        refuse_poison(images)
        self._pace.spend(len(images))


class FakeCaptioner(_Seeing):
    """A `Captioner`: the colours of the picture, largest first."""

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        self._look([one.image for one in requests], *(one.prompt or "" for one in requests))
        return [_caption(one) for one in requests]


class FakeAnswerer(_Seeing):
    """An `Answerer` that knows colours only."""

    def answer(self, questions: Sequence[Question]) -> list[Sequence[Scored]]:
        self._look([one.image for one in questions], *(one.text for one in questions))
        return [_answers(one) for one in questions]


class FakeDetector(_Seeing):
    """A `Detector` and an `OpenDetector`: each colour is an object, and white is the wall behind them."""

    @property
    def vocabulary(self) -> Sequence[str]:
        return NAMES

    def detect(self, requests: Sequence[DetectionRequest]) -> list[Sequence[Detection]]:
        self._look([one.image for one in requests])
        return [_objects(one, [name for name in NAMES if name != "white"]) for one in requests]

    def find(self, requests: Sequence[DetectionRequest]) -> list[Sequence[Detection]]:
        self._look([one.image for one in requests], *(label for one in requests for label in one.labels))
        return [_objects(one, one.labels) for one in requests]


class FakeExplainer(_Seeing):
    """An `Explainer`: a text is where its colours are."""

    def explain(self, requests: Sequence[ExplanationRequest]) -> list[Explanation]:
        self._look([one.image for one in requests], *(one.text for one in requests))
        return [_explanation(one) for one in requests]


class FakeVideoClassifier(_Seeing):
    """A `VideoClassifier`: the colours of the whole clip."""

    @property
    def frames(self) -> int:
        return _CLIP_FRAMES

    @property
    def vocabulary(self) -> Sequence[str]:
        return NAMES

    def classify_clips(self, clips: Sequence[ClipRequest]) -> list[NDArray[np.float32]]:
        self._look([frame for clip in clips for frame in clip.frames])
        return [named(clip.frames.reshape(-1, 3).mean(axis=0, dtype=np.float32)) for clip in clips]


class FakeFusionClassifier(_Seeing):
    """A `FusionClassifier`: half what the text says, half what the picture shows."""

    @property
    def vocabulary(self) -> Sequence[str]:
        return NAMES

    def classify_pairs(self, requests: Sequence[FusionRequest]) -> list[NDArray[np.float32]]:
        self._look([one.image for one in requests], *(one.text for one in requests))
        return [_fused(one) for one in requests]


def load(source: Source) -> Model:
    """Return the stand-in for the source's capability."""
    kinds: dict[str, Callable[[ModelCard, Pace], Model]] = {
        "Captioner": FakeCaptioner,
        "Answerer": FakeAnswerer,
        "Detector": FakeDetector,
        "OpenDetector": FakeDetector,
        "Explainer": FakeExplainer,
        "VideoClassifier": FakeVideoClassifier,
        "FusionClassifier": FakeFusionClassifier,
    }
    return kinds[source.capability](source.card, Pace(**source.options))


def _cells(image: Pixels) -> NDArray[np.float32]:
    """Return how well each name fits each cell, float32 of shape (rows, columns, names)."""
    rows = image.reshape(_CELLS, _CELL_PIXELS, _CELLS, _CELL_PIXELS, 3)
    return named(rows.mean(axis=(1, 3), dtype=np.float32))


def _colours(image: Pixels) -> list[Scored]:
    """Return the colours that cover enough of a picture, with their shares, largest first."""
    shares = _cells(image).mean(axis=(0, 1))
    order = np.argsort(-shares, kind="stable")
    return [(NAMES[index], float(shares[index])) for index in order if shares[index] >= _LEAST_SHARE]


def _caption(request: CaptionRequest) -> Caption:
    colours = _colours(request.image)
    begun = (request.prompt or "a picture in").split()
    words = [*begun, *" and ".join(name for name, _ in colours).split()]
    return Caption(text=" ".join(words[: max(len(begun), request.max_tokens)]), evidence=colours)


def _answers(question: Question) -> Sequence[Scored]:
    colours = dict(_colours(question.image))
    if question.candidates:
        scores = [(answer, colours.get(answer.lower(), 0.0)) for answer in question.candidates]
        return sorted(scores, key=lambda scored: -scored[1])
    if "colour" not in question.text and "color" not in question.text:
        return [(UNKNOWN, 0.0)]
    return list(colours.items())


def _objects(request: DetectionRequest, labels: Sequence[str]) -> Sequence[Detection]:
    cells = _cells(request.image)
    best = cells.argmax(axis=2)
    found = []
    for label in labels:
        colour = next((word for word in label.lower().split() if word in COLOURS), None)
        if colour is None or not (there := best == NAMES.index(colour)).any():
            continue
        rows, columns = np.nonzero(there)
        score = float(cells[there][:, NAMES.index(colour)].mean())
        if score >= (request.threshold or 0.0):
            edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            left, top, right, bottom = (int(edge) / _CELLS for edge in edges)
            found.append(Detection(label=label, score=min(score, 1.0), box=(left, top, right, bottom)))
    return sorted(found, key=lambda one: -one.score)[: request.max_objects]


def _explanation(request: ExplanationRequest) -> Explanation:
    def score_of(text: str) -> float:
        colours = text_vector(text)[: len(NAMES)]
        return float((_cells(request.image).mean(axis=(0, 1)) * colours).sum())

    words = request.text.split()
    heat = (_cells(request.image) * text_vector(request.text)[: len(NAMES)]).sum(axis=2)
    score = score_of(request.text)
    rests = [" ".join([*words[:place], *words[place + 1 :]]) for place in range(len(words))]
    return Explanation(
        score=min(max(score, -1.0), 1.0),
        heat=(heat / heat.max() if heat.max() > 0 else np.zeros_like(heat)).astype(np.float32),
        tokens=[(word, score - score_of(rest)) for word, rest in zip(words, rests, strict=True)],
    )


def _fused(request: FusionRequest) -> NDArray[np.float32]:
    said = np.abs(text_vector(request.text)[: len(NAMES)]) + np.float32(1e-6)
    seen = named(request.image.reshape(-1, 3).mean(axis=0, dtype=np.float32))
    fused: NDArray[np.float32] = ((said / said.sum() + seen) / 2).astype(np.float32)
    return fused
