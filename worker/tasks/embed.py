"""`embed`: vectors for images and texts."""

from __future__ import annotations

from dataclasses import dataclass

from shared.schemas.embed import EmbedInput, EmbedResult
from worker.models.capabilities import ImageFeatures, Vectors
from worker.pipeline import Pipeline, Work
from worker.stages.convert import images_in_image_space, images_in_joint_space, texts_in_joint_space
from worker.stages.extract import image_features, text_vectors
from worker.stages.output import encoded


@dataclass(frozen=True, slots=True)
class Embedded:
    """Unit vectors of one space, as rows."""

    images: Vectors
    texts: Vectors


def extract(work: Work, task: EmbedInput) -> list[ImageFeatures]:
    return image_features(work, task.images)


def convert(work: Work, task: EmbedInput, images: list[ImageFeatures]) -> Embedded:
    match task.space:
        case "joint":
            return Embedded(images_in_joint_space(work, images), texts_in_joint_space(work, task.texts))
        case "image":
            vectors = images_in_image_space(work, images)
            return Embedded(vectors, vectors[:0])
        case "text":
            vectors = text_vectors(work, task.texts)
            return Embedded(vectors[:0], vectors)


def fuse(work: Work, task: EmbedInput, embedded: Embedded) -> Embedded:
    """Nothing to fuse: each vector stands for itself."""
    return embedded


def output(work: Work, task: EmbedInput, embedded: Embedded) -> EmbedResult:
    return EmbedResult(
        image_vectors=encoded(embedded.images, task.encoding),
        text_vectors=encoded(embedded.texts, task.encoding),
        dim=embedded.images.shape[1],
    )


PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output)
