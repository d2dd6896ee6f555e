"""The joint space of an image classifier and a sentence encoder: the sentence encoder's space, centred.

Two maps bring a picture there, and their unit vectors are added:

- ConSE (Norouzi et al. 2013): the mean of its most probable classes' label vectors, weighted by probability.
- A ridge map from image features to label vectors, fitted once on the classifier's own (class weight, label
  vector) pairs: the linear case of DeViSE (Frome et al. 2013). Fitting it takes no picture.

Measured with the starter's encoders, one caption per photo, R@1 image to text / text to image:

    photos              ConSE alone   ridge alone   half and half (R@5)
    95 (chosen on)      .45 / .47     .32 / .33     .48 / .47 (.75 / .80)
    48 (held out)       .54 / .48     .40 / .46     .48 / .52

The photos are those of GCompris 3.1 and scikit-image 0.26, the captions ours. A third part, the square roots
of both sides' class probabilities, gains .06 image to text and loses .03 where a text attends over regions;
left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadConfiguration
from worker.models.cache import Tensors, cached_tensors
from worker.models.capabilities import (
    ImageEncoder,
    ImageFeatures,
    ModelCard,
    Prepares,
    RegionFeatures,
    TextEncoder,
    Tuned,
    Vector,
    Vectors,
)
from worker.models.finite import require_finite
from worker.models.sources import Source
from worker.models.vectors import unit

#: Goes up whenever `fit` computes something else from the same inputs.
_VERSION = 1
#: Classes that speak for a picture (Norouzi et al. 2013, T = 10).
_TOP_CLASSES = 10
#: A label's vector is the mean of its vectors in these texts: R@5 .75 / .80, the bare label alone .72 / .78.
_PROMPTS = ("{}", "a photo of a {}")
#: On rows of unit length; with 1 to 30, R@1 differs by four of the 95 photos at most.
_RIDGE = 10.0
#: Share of the ridge map in the sum; ConSE has the rest.
_RIDGE_SHARE = 0.5
_FIT_BATCH = 256


@runtime_checkable
class LinearClassifier(ImageEncoder, Protocol):
    """An image encoder whose last layer can be read."""

    def class_weights(self) -> NDArray[np.float32]:
        """Return the classifier's rows, float32 of shape (V, F); may read the weight file for it."""


class Conse:
    """A `JointEncoder` that `Prepares` and is `Tuned` as far as the text encoder below is.

    Args:
        maps: `mean` (D,): the label texts' mean vector; `labels` (V, D): the label texts' vectors, centred,
            of unit length; `ridge` (F, D): from image features to centred text vectors.
    """

    def __init__(self, card: ModelCard, text: TextEncoder, maps: Tensors) -> None:
        self._card = card
        self._text = text
        self._mean = maps["mean"]
        self._labels = maps["labels"]
        self._ridge = maps["ridge"]

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return int(self._labels.shape[1])

    @property
    def vocabulary_vectors(self) -> Vectors:
        return self._labels

    def warm_up(self) -> None:
        self.embed_texts(["warm up"])

    @property
    def batch_limits(self) -> Mapping[str, int]:
        limits = self._text.batch_limits if isinstance(self._text, Tuned) else {}
        return {"embed_texts": limits["encode_texts"]} if "encode_texts" in limits else {}

    def prepare(self, method: str, items: Sequence[Any]) -> Sequence[Any]:
        """Return texts as the text encoder prepares them, for `embed_texts`."""
        if method != "embed_texts" or not isinstance(self._text, Prepares):
            return items
        return self._text.prepare("encode_texts", items)

    def embed_texts(self, texts: Sequence[str]) -> list[Vector]:
        """Return each text's vector, centred on the mean of the label texts as the pictures are."""
        if not texts:
            return []
        return list(unit(np.stack(self._text.encode_texts(texts)) - self._mean))

    def project_images(self, features: Sequence[ImageFeatures]) -> list[Vector]:
        if not features:
            return []
        pooled = np.stack([one.pooled for one in features])
        return list(self._project(pooled, np.stack([one.probabilities for one in features])))

    def project_regions(self, features: Sequence[RegionFeatures]) -> list[Vectors]:
        if not features:
            return []
        grids = [one.grid.reshape(-1, one.grid.shape[-1]) for one in features]
        chances = [one.probabilities.reshape(-1, one.probabilities.shape[-1]) for one in features]
        ends = np.cumsum([len(grid) for grid in grids])[:-1]
        return np.split(self._project(np.concatenate(grids), np.concatenate(chances)), ends)

    def _project(self, features: NDArray[np.float32], probabilities: NDArray[np.float32]) -> Vectors:
        """Return one unit vector per row."""
        top = np.argpartition(probabilities, -_TOP_CLASSES, axis=1)[:, -_TOP_CLASSES:]
        weights = np.take_along_axis(probabilities, top, axis=1)
        by_words = unit(np.einsum("nk,nkd->nd", weights, self._labels[top]))
        by_ridge = unit(features @ self._ridge)
        vectors = unit((1 - _RIDGE_SHARE) * by_words + _RIDGE_SHARE * by_ridge)
        require_finite(vectors)
        return vectors


def load(source: Source) -> Conse:
    """Build the space over the loaded encoders; fits on the first start, then reads the cache."""
    text, image = source.over.get("TextEncoder"), source.over.get("ImageEncoder")
    if not isinstance(text, TextEncoder) or not isinstance(image, LinearClassifier):
        raise BadConfiguration(
            f"{source.card.id} is built over a TextEncoder and an ImageEncoder with a linear last layer"
        )
    inputs = (
        _VERSION,
        text.card.revision,
        image.card.revision,
        list(image.vocabulary),
        _PROMPTS,
        _RIDGE,
    )
    maps = cached_tensors(source.place.cache_dir, "conse", inputs, lambda: fit(text, image))
    # Its own arithmetic is numpy's, wherever the encoders below run.
    return Conse(dataclasses.replace(source.card, device="cpu", runtime="numpy"), text, maps)


def fit(text: TextEncoder, image: LinearClassifier) -> Tensors:
    """Return `Conse`'s maps. Takes 2 x V short texts, some two seconds on two cores with ONNX Runtime."""
    vectors = _label_vectors(text, image.vocabulary)
    mean = vectors.mean(axis=0)
    labels = unit(vectors - mean)
    weights = image.class_weights()
    rows = unit(weights - weights.mean(axis=0))
    gram = rows.T @ rows + np.float32(_RIDGE) * np.eye(rows.shape[1], dtype=np.float32)
    return {"mean": mean, "labels": labels, "ridge": np.linalg.solve(gram, rows.T @ labels)}


def _label_vectors(text: TextEncoder, labels: Sequence[str]) -> Vectors:
    texts = [prompt.format(label) for prompt in _PROMPTS for label in labels]
    vectors = [
        vector
        for start in range(0, len(texts), _FIT_BATCH)
        for vector in text.encode_texts(texts[start : start + _FIT_BATCH])
    ]
    return unit(np.stack(vectors).reshape(len(_PROMPTS), len(labels), -1).mean(axis=0))
