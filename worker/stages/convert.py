"""Stage two: from one modality to the other. Pictures become words, or join the texts in the joint space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.models.capabilities import ImageEncoder, ImageFeatures, JointEncoder, RegionFeatures, Vectors
from worker.models.vectors import unit
from worker.pipeline import Work
from worker.stages.extract import stacked
from worker.stages.fuse import Seen

#: Below this the best class is not named at all. These three are chosen by eye, on the demo photographs.
_UNSURE = 0.25
#: From here on it is named without a "perhaps".
_SURE = 0.6
#: A runner-up is worth a word from here on.
_WORTH_A_WORD = 0.1


def texts_in_joint_space(work: Work, texts: Sequence[str]) -> Vectors:
    """Return each text in the joint space, float32 of shape (texts, dim)."""
    return stacked(work.map(JointEncoder.embed_texts, texts), work.model(JointEncoder).dim)


def images_in_joint_space(work: Work, features: Sequence[ImageFeatures]) -> Vectors:
    """Return each whole picture in the joint space, float32 of shape (pictures, dim)."""
    return stacked(work.map(JointEncoder.project_images, features), work.model(JointEncoder).dim)


def images_in_image_space(work: Work, features: Sequence[ImageFeatures]) -> Vectors:
    """Return each picture's pooled features, float32 of shape (pictures, dim), unit vectors."""
    return unit(stacked([one.pooled for one in features], work.model(ImageEncoder).dim))


def whole_in_joint_space(work: Work, features: ImageFeatures) -> Seen:
    """Return one whole picture as one row."""
    return Seen(images_in_joint_space(work, [features]), features.probabilities[None])


def cells_in_joint_space(work: Work, features: RegionFeatures) -> Seen:
    """Return one picture's cells, row by row."""
    cells = work.map(JointEncoder.project_regions, [features])[0]
    return Seen(cells, features.probabilities.reshape(len(cells), -1))


def in_words(probabilities: NDArray[np.float32], vocabulary: Sequence[str]) -> str:
    """Return what the classifier is sure of, in words: "a photo of an espresso".

    Below a probability of 0.6 it says "perhaps", from 0.1 on it names a second class, and below 0.25 it says
    that it does not know: a name that the classifier does not believe in helps nobody.
    """
    first, second = (int(index) for index in np.argsort(-probabilities, kind="stable")[:2])
    if probabilities[first] < _UNSURE:
        return "a photo of something unknown"
    words = f"a photo of {_with_article(vocabulary[first])}"
    if probabilities[first] < _SURE:
        words = f"perhaps {words}"
    if probabilities[second] >= _WORTH_A_WORD:
        words += f", or of {_with_article(vocabulary[second])}"
    return words


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
