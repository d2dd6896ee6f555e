"""`match`: which text belongs to which image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.schemas.match import MatchInput, MatchResult
from worker.models.capabilities import ImageFeatures, Vectors
from worker.pipeline import Pipeline, Work
from worker.stages.convert import images_in_joint_space, texts_in_joint_space
from worker.stages.extract import image_features
from worker.stages.fuse import cosines


@dataclass(frozen=True, slots=True)
class Converted:
    """Unit vectors of the joint space, as rows."""

    images: Vectors
    texts: Vectors


def extract(work: Work, task: MatchInput) -> list[ImageFeatures]:
    return image_features(work, task.images)


def convert(work: Work, task: MatchInput, images: list[ImageFeatures]) -> Converted:
    return Converted(images_in_joint_space(work, images), texts_in_joint_space(work, task.texts))


def fuse(work: Work, task: MatchInput, converted: Converted) -> NDArray[np.float32]:
    return cosines(converted.images, converted.texts)


def output(work: Work, task: MatchInput, scores: NDArray[np.float32]) -> MatchResult:
    return MatchResult(
        scores=scores.tolist(),
        best_texts=scores.argmax(axis=1).tolist(),
        best_images=scores.argmax(axis=0).tolist(),
    )


PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output)
