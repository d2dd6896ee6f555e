"""A `Detector` and an `OpenDetector` over an image classifier and its joint space, from activation maps.

A label's map, made at two scales, gives places; then the encoder looks at each of these again, cut out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadConfiguration
from worker.media.views import View
from worker.models.boxes import apart, cut_out, mean_inside
from worker.models.capabilities import (
    Box,
    Detection,
    DetectionRequest,
    ImageEncoder,
    ImageFeatures,
    JointEncoder,
    ModelCard,
    RegionFeatures,
    Vector,
)
from worker.models.finite import require_finite
from worker.models.maps import VIEW, Cells, cells_of, classes_meant, spots
from worker.models.sources import Source
from worker.models.vectors import unit

#: A label's vector is the mean of its vectors in these texts, as those of the encoder's classes are.
_PROMPTS = ("{}", "a photo of a {}")
#: Chance that a label is in a box: a logistic regression by its cosine with the cells inside and with what is
#: cut out, and by the log odds, in the cells, of the classes that it means. Fitted on 95 photographs of
#: GCompris 3.1, alone and in pairs, with their own names and five others each, both weighted alike; then
#: moved until 0.5 is where 0.62 was. There .82 of what is in a picture is found, and .09 of what is not; on
#: 48 held out, most of which show animals, .70 and .11 (of other animals' names). Of what is found, one thing
#: gives one box in .80 and .81, and two of it side by side give two in .76 and .73.
_BY_COSINES, _BY_CLASSES, _BIAS = 6.22, 0.64, -1.26
#: Log odds end here.
_LEAST_SHARE = 1e-4
#: What is cut out is a square, wider than the box by this share of its side on each side.
_CONTEXT = 0.15
#: Least score where the request names none: of a label, and of a class of the encoder's, whose score is its
#: probability in what is cut out.
_THRESHOLD, _CLASS_THRESHOLD = 0.5, 0.3
#: Two boxes of which one holds more than this share of the smaller are boxes of one thing.
_MOST_OVERLAP = 0.5
#: What the cells alone make less likely than this share of the least score is not looked at again, nor more
#: boxes a picture than these.
_WORTH_A_LOOK, _MOST_LOOKS = 0.25, 64
#: Windows, in cells, whose classes a detector of its own vocabulary looks at; and how likely a class must be
#: in one, and how many of them it takes at most.
_WINDOWS = (3, 5)
_LIKELY, _MOST_CLASSES = 0.2, 12


@dataclass(frozen=True, slots=True)
class _Target:
    """What is looked for."""

    label: str
    #: In the joint space, unit length.
    vector: Vector
    #: How far each class of the encoder's vocabulary is meant by it, in [0, 1], shape (V,).
    classes: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where something may be, as far as the cells tell."""

    target: _Target
    box: Box
    #: Its cosine with the cells inside the box.
    cosine: float
    #: The share there of the classes that it means, in [0, 1].
    share: float

    @property
    def score(self) -> float:
        """Return the chance that it is there if a second look shows the same."""
        return self.looked_at(self.cosine)

    def looked_at(self, cosine: float) -> float:
        """Return the chance that it is there, given its cosine with what is cut out."""
        share = min(max(self.share, _LEAST_SHARE), 1 - _LEAST_SHARE)
        by_classes = _BY_CLASSES * math.log(share / (1 - share))
        return 1 / (1 + math.exp(-(_BY_COSINES * (self.cosine + cosine) + by_classes + _BIAS)))


class MapDetector:
    """Each batch takes one look at all its pictures, and one at all that is cut out of them."""

    def __init__(self, card: ModelCard, image: ImageEncoder, joint: JointEncoder) -> None:
        self._card = card
        self._image = image
        self._joint = joint

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return VIEW

    @property
    def vocabulary(self) -> Sequence[str]:
        return self._image.vocabulary

    def warm_up(self) -> None:
        black = np.zeros((VIEW.height, VIEW.width, 3), dtype=np.uint8)
        request = DetectionRequest(image=black, labels=("warm up",), threshold=0.0, max_objects=1)
        self.detect([request])
        self.find([request])

    def find(self, requests: Sequence[DetectionRequest]) -> list[Sequence[Detection]]:
        """Return each picture's objects among its labels; those of two labels may share a place."""
        if not requests:
            return []
        targets = self._targets(list(dict.fromkeys(label for one in requests for label in one.labels)))
        places = [
            self._places(cells, [targets[label] for label in one.labels])
            for one, cells in zip(requests, self._cells(requests), strict=True)
        ]
        promising = [
            _first([(place.score, place) for place in each], _threshold(one, _THRESHOLD))
            for one, each in zip(requests, places, strict=True)
        ]
        return [
            _best(one, _apart_by_label(found), _THRESHOLD)
            for one, found in zip(requests, self._looked_at(requests, promising, self._chance), strict=True)
        ]

    def detect(self, requests: Sequence[DetectionRequest]) -> list[Sequence[Detection]]:
        """Return each picture's objects by the encoder's own names, one for each place."""
        places = [self._places(cells, self._likely(cells)) for cells in self._cells(requests)]
        promising = [
            _first([(place.share, place) for place in each], _threshold(one, _CLASS_THRESHOLD))
            for one, each in zip(requests, places, strict=True)
        ]
        return [
            _best(one, apart(found, _MOST_OVERLAP), _CLASS_THRESHOLD)
            for one, found in zip(requests, self._looked_at(requests, promising, _probability), strict=True)
        ]

    def _cells(self, requests: Sequence[DetectionRequest]) -> list[Cells]:
        return cells_of(self._image, self._joint, [one.image for one in requests])

    def _targets(self, labels: Sequence[str]) -> dict[str, _Target]:
        texts = [prompt.format(label) for prompt in _PROMPTS for label in labels]
        embedded = np.array(self._joint.embed_texts(texts), dtype=np.float32)
        vectors = unit(embedded.reshape(len(_PROMPTS), len(labels), -1).mean(axis=0))
        vocabulary = self._joint.vocabulary_vectors
        return {
            label: _Target(label, vector, classes_meant(vector, vocabulary))
            for label, vector in zip(labels, vectors, strict=True)
        }

    def _likely(self, cells: Cells) -> list[_Target]:
        """Return the classes that some window of the picture shows, the likeliest first."""
        likeliest = _window_maxima(cells.features.probabilities)
        vectors = self._joint.vocabulary_vectors
        return [
            _Target(self.vocabulary[index], vectors[index], np.eye(1, len(vectors), index, np.float32)[0])
            for index in np.argsort(-likeliest, kind="stable")[:_MOST_CLASSES].tolist()
            if likeliest[index] >= _LIKELY
        ]

    def _places(self, cells: Cells, targets: Sequence[_Target]) -> list[_Place]:
        """Return the hot places of each target's map, and what the cells in them tell."""
        hot = [
            (target, spot.box)
            for target in targets
            for spot in spots(cells.heat(target.vector, target.classes))
        ]
        if not hot:
            return []
        features = cells.features
        grid = np.stack([mean_inside(features.grid, box) for _, box in hot])[None]
        probabilities = np.stack([mean_inside(features.probabilities, box) for _, box in hot])[None]
        (vectors,) = self._joint.project_regions([RegionFeatures(grid=grid, probabilities=probabilities)])
        return [
            _Place(target, box, float(vector @ target.vector), float(shares @ target.classes))
            for (target, box), vector, shares in zip(hot, vectors, probabilities[0], strict=True)
        ]

    def _looked_at(
        self,
        requests: Sequence[DetectionRequest],
        places: Sequence[Sequence[_Place]],
        score: Callable[[_Place, ImageFeatures], float],
    ) -> list[list[Detection]]:
        """Return each place as a detection, scored by what is seen when it is cut out."""
        cut = [
            cut_out(one.image, place.box, _CONTEXT, self._image.view)
            for one, each in zip(requests, places, strict=True)
            for place in each
        ]
        seen = iter(self._image.encode_images(cut))
        return [
            [
                Detection(label=place.target.label, score=score(place, next(seen)), box=place.box)
                for place in each
            ]
            for each in places
        ]

    def _chance(self, place: _Place, seen: ImageFeatures) -> float:
        (vector,) = self._joint.project_images([seen])
        return place.looked_at(float(vector @ place.target.vector))


def load(source: Source) -> MapDetector:
    """Build the detector over the loaded encoders; it has no weights of its own."""
    image, joint = source.over.get("ImageEncoder"), source.over.get("JointEncoder")
    if not isinstance(image, ImageEncoder) or not isinstance(joint, JointEncoder):
        raise BadConfiguration(f"{source.card.id} is built over an ImageEncoder and a JointEncoder")
    card = dataclasses.replace(source.card, device=image.card.device, runtime=image.card.runtime)
    return MapDetector(card, image, joint)


def _probability(place: _Place, seen: ImageFeatures) -> float:
    """Return how likely a class of the encoder's is in what is cut out."""
    return min(float(seen.probabilities @ place.target.classes), 1.0)


def _threshold(request: DetectionRequest, default: float) -> float:
    return default if request.threshold is None else request.threshold


def _first(scored: list[tuple[float, _Place]], threshold: float) -> list[_Place]:
    """Return the places that are worth a second look, the likeliest first."""
    ranked = sorted(scored, key=lambda one: -one[0])[:_MOST_LOOKS]
    return [place for score, place in ranked if score >= threshold * _WORTH_A_LOOK]


def _best(request: DetectionRequest, found: Sequence[Detection], default: float) -> list[Detection]:
    """Return what the request wants of it, surest first."""
    require_finite(np.array([one.score for one in found]))
    sure = [one for one in found if one.score >= _threshold(request, default)]
    return sorted(sure, key=lambda one: -one.score)[: request.max_objects]


def _apart_by_label(found: Sequence[Detection]) -> list[Detection]:
    labels = dict.fromkeys(one.label for one in found)
    return [
        one
        for label in labels
        for one in apart([other for other in found if other.label == label], _MOST_OVERLAP)
    ]


def _window_maxima(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how likely each class is in the window that shows it best, shape (V,)."""
    rows, columns = probabilities.shape[:2]
    likeliest: NDArray[np.float32] = probabilities.mean(axis=(0, 1))
    for side in _WINDOWS:
        if min(rows, columns) >= side:
            windows = np.lib.stride_tricks.sliding_window_view(probabilities, (side, side), axis=(0, 1))
            likeliest = np.maximum(likeliest, windows.mean(axis=(-2, -1)).max(axis=(0, 1)))
    return likeliest
