"""`detect`: what is where in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.schemas.detect import DetectedObject, DetectInput, DetectResult
from worker.media import Picture
from worker.media.encode import jpeg
from worker.models.capabilities import Detection, DetectionRequest, Detector, OpenDetector
from worker.pipeline import Pipeline, Work
from worker.stages.drawing import CANVAS, Marked, annotated
from worker.stages.regions import in_pixels


@dataclass(frozen=True, slots=True)
class Seen:
    """The picture, as the model wants it and as people do."""

    request: DetectionRequest
    shown: Picture


@dataclass(frozen=True, slots=True)
class Found:
    """The objects in the picture shown, surest first."""

    objects: Sequence[Detection]
    shown: Picture


def extract(work: Work, task: DetectInput) -> Seen:
    model = work.model(Detector) if task.labels is None else work.model(OpenDetector)
    (pixels,) = work.images([task.image], model.view)
    (shown,) = work.pictures([task.image], CANVAS)
    request = DetectionRequest(
        image=pixels,
        # Twice the same label would find everything twice.
        labels=tuple(dict.fromkeys(task.labels or ())),
        threshold=task.threshold,
        max_objects=task.max_objects,
    )
    return Seen(request, shown)


def convert(work: Work, task: DetectInput, seen: Seen) -> Seen:
    """Nothing to convert: a detector takes a picture, and labels as they are."""
    return seen


def fuse(work: Work, task: DetectInput, seen: Seen) -> Found:
    operation = Detector.detect if task.labels is None else OpenDetector.find
    return Found(work.map(operation, [seen.request])[0], seen.shown)


def output(work: Work, task: DetectInput, found: Found) -> DetectResult:
    shown = found.shown
    marks = [Marked(f"{one.label} {one.score:.2f}", one.label, one.box) for one in found.objects]
    work.artifact("annotated", jpeg(annotated(shown.pixels, marks)), "image/jpeg")
    return DetectResult(
        objects=[
            DetectedObject(
                label=one.label, score=one.score, box=in_pixels(one.box, shown.width, shown.height)
            )
            for one in found.objects
        ],
        width=shown.width,
        height=shown.height,
    )


PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output)
