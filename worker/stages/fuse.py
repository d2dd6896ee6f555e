"""Stage three: a text and a picture become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.models.capabilities import Vector, Vectors
from worker.models.vectors import unit

#: Of the softmax over the cosines between a text and a picture's cells. Measured on 120 pairs of photographs
#: put side by side: 0.05 gives the half that the text names .92 of the attention, and its classes come
#: first in .96; 0.1 gives .85 and .94, and 0.02, which rests on few cells, .94 and .92.
ATTENTION_TEMPERATURE = 0.05
#: Of the softmax over the cosines between one vector and texts. Calibrated with the starter's models on 53
#: photographs, ten names each: least log loss (.43) at 0.05, where .84 are right at a mean share of .86.
TEXT_TEMPERATURE = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture, or its cells, as rows."""

    #: In the joint space, float32 of shape (rows, dim), unit vectors.
    vectors: Vectors
    #: Over the image encoder's vocabulary, float32 of shape (rows, V), each sums to 1.
    probabilities: NDArray[np.float32]


def attend(text: Vector, cells: Seen) -> Seen:
    """Return the picture as the text looks at it, in one row: the mean of its cells, weighted by attention.

    Dot-product attention (Vaswani et al. 2017) in the joint space, the text its one query, the cells its keys
    and values. The text chooses where to look; what is seen there is the picture's own, so a text about
    something absent cannot put it into the answer.
    """
    weights = attention(text, cells.vectors)
    return Seen(unit(weights @ cells.vectors)[None], (weights @ cells.probabilities)[None])


def attention(text: Vector, cells: Vectors) -> NDArray[np.float32]:
    """Return how much of the text's attention each cell gets, float32 of shape (cells,), sums to 1."""
    return softmax(cells @ text / ATTENTION_TEMPERATURE)


def average(text: Vector, whole: Seen, vocabulary: Vectors) -> Seen:
    """Return the mean of what the text says and what the picture shows, in one row.

    Args:
        vocabulary: the image encoder's labels in the joint space, shape (V, dim).
    """
    said = shares(text[None], vocabulary)
    return Seen(unit(text + whole.vectors), (said + whole.probabilities) * np.float32(0.5))


def cosines(vectors: Vectors, texts: Vectors) -> NDArray[np.float32]:
    """Return the cosine of each vector with each text, in [-1, 1]; all rows are unit vectors."""
    products: NDArray[np.float32] = np.clip(vectors @ texts.T, -1.0, 1.0)
    return products


def shares(vectors: Vectors, texts: Vectors) -> NDArray[np.float32]:
    """Return how likely each text is if exactly one of them is right, float32 of shape (vectors, texts)."""
    return softmax(cosines(vectors, texts) / TEXT_TEMPERATURE)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return shares that sum to 1 over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return normalised
