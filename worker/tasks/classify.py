"""`classify`: what an image shows, in the light of a text."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import UnknownHead
from shared.schemas.classify import ClassifyInput, ClassifyResult, ScoredLabel
from worker.models.capabilities import ImageEncoder, ImageFeatures, JointEncoder, RegionFeatures, Vectors
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


@dataclass(frozen=True, slots=True)
class Fused:
    """The picture in the light of the text."""

    description: str
    #: One row.
    seen: Seen
    labels: Vectors


def extract(work: Work, task: ClassifyInput) -> Extracted:
    if task.head is not None:
        raise UnknownHead(f"there is no head named {task.head!r}", pointer="/input/head")
    whole = image_features(work, [task.image])[0]
    regions = region_features(work, [task.image])[0] if _fusion(task) == "attention" else None
    return Extracted(whole, regions)


def convert(work: Work, task: ClassifyInput, extracted: Extracted) -> Converted:
    context = [] if task.text is None or _fusion(task) == "none" else [task.text]
    return Converted(
        description=in_words(extracted.whole.probabilities, work.model(ImageEncoder).vocabulary),
        seen=whole_in_joint_space(work, extracted.whole)
        if extracted.regions is None
        else cells_in_joint_space(work, extracted.regions),
        text=texts_in_joint_space(work, context),
        labels=texts_in_joint_space(work, task.labels or []),
    )


def fuse(work: Work, task: ClassifyInput, converted: Converted) -> Fused:
    seen = converted.seen
    match _fusion(task):
        case "attention":
            seen = attend(converted.text[0], seen)
        case "mean":
            seen = average(converted.text[0], seen, work.model(JointEncoder).vocabulary_vectors)
        case _:
            pass
    return Fused(converted.description, seen, converted.labels)


def output(work: Work, task: ClassifyInput, fused: Fused) -> ClassifyResult:
    if task.labels is None:
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
