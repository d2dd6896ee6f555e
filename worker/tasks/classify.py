"""`classify`: what an image shows, in the light of a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import UnknownHead
from shared.schemas.base import ScoredLabel
from shared.schemas.classify import ClassifyInput, ClassifyResult
from worker.models.capabilities import (
    FusionClassifier,
    FusionRequest,
    ImageEncoder,
    ImageFeatures,
    JointEncoder,
    RegionFeatures,
    Vectors,
)
from worker.pipeline import Pipeline, Work
from worker.stages.convert import (
    cells_in_joint_space,
    in_words,
    texts_in_joint_space,
    whole_in_joint_space,
)
from worker.stages.extract import image_features, region_features
from worker.stages.fuse import Seen, attend, average, shares
from worker.stages.output import ranking


@dataclass(frozen=True, slots=True)
class Extracted:
    """What the encoder sees."""

    whole: ImageFeatures
    #: For a text to attend over.
    regions: RegionFeatures | None
    #: For a trained layer to fuse, where the profile has one for such a job.
    pair: FusionRequest | None


@dataclass(frozen=True, slots=True)
class Converted:
    """Everything in the joint space, and the picture in words."""

    description: str
    #: The picture's cells where a text attends over them, else the whole picture.
    seen: Seen
    #: One row, or none: the context.
    text: Vectors
    #: One row per label asked for.
    labels: Vectors
    pair: FusionRequest | None


@dataclass(frozen=True, slots=True)
class Fused:
    """The picture in the light of the text."""

    description: str
    #: One row.
    seen: Seen
    labels: Vectors
    #: What the trained layer makes of the pair, over its own vocabulary, shape (V,).
    trained: NDArray[np.float32] | None


def extract(work: Work, task: ClassifyInput) -> Extracted:
    if task.head is not None:
        raise UnknownHead(f"there is no head named {task.head!r}", pointer="/input/head")
    whole = image_features(work, [task.image])[0]
    if task.text is None or task.fusion != "attention":
        return Extracted(whole, regions=None, pair=None)
    if task.labels is None and work.has(FusionClassifier):
        picture = work.images([task.image], work.model(FusionClassifier).view)[0]
        return Extracted(whole, regions=None, pair=FusionRequest(picture, task.text))
    return Extracted(whole, regions=region_features(work, [task.image])[0], pair=None)


def convert(work: Work, task: ClassifyInput, extracted: Extracted) -> Converted:
    alone = _fusion(task) == "none" or extracted.pair is not None
    context = [] if task.text is None or alone else [task.text]
    return Converted(
        description=in_words(extracted.whole.probabilities, work.model(ImageEncoder).vocabulary),
        seen=whole_in_joint_space(work, extracted.whole)
        if extracted.regions is None
        else cells_in_joint_space(work, extracted.regions),
        text=texts_in_joint_space(work, context),
        labels=texts_in_joint_space(work, task.labels or []),
        pair=extracted.pair,
    )


def fuse(work: Work, task: ClassifyInput, converted: Converted) -> Fused:
    seen, trained = converted.seen, None
    if converted.pair is not None:
        trained = work.map(FusionClassifier.classify_pairs, [converted.pair])[0]
    elif _fusion(task) == "attention":
        seen = attend(converted.text[0], seen)
    elif _fusion(task) == "mean":
        seen = average(converted.text[0], seen, work.model(JointEncoder).vocabulary_vectors)
    return Fused(converted.description, seen, converted.labels, trained)


def output(work: Work, task: ClassifyInput, fused: Fused) -> ClassifyResult:
    if fused.trained is not None:
        ranked = ranking(work.model(FusionClassifier).vocabulary, fused.trained, task.top_k)
    elif task.labels is None:
        ranked = ranking(work.model(ImageEncoder).vocabulary, fused.seen.probabilities[0], task.top_k)
    else:
        ranked = ranking(task.labels, shares(fused.seen.vectors, fused.labels)[0], task.top_k)
    return ClassifyResult(
        labels=[ScoredLabel(label=label, score=score) for label, score in ranked],
        description=fused.description,
    )


def _fusion(task: ClassifyInput) -> str:
    """Return the fusion to use: a picture without a text stands alone."""
    return "none" if task.text is None else task.fusion


PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output)
