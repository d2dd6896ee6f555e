"""`detect`: what is where in an image."""

from __future__ import annotations

from pydantic import Field

from shared.schemas.base import Box, ImageRef, Score, TaskInput, TaskResult, TaskSchema, Text


class DetectInput(TaskInput):
    image: ImageRef
    #: What to look for; without them, whatever the model's own vocabulary has a name for.
    labels: list[Text] | None = Field(default=None, min_length=1)
    #: Objects below this score are left out; default: the model's own.
    threshold: Score | None = None
    max_objects: int = Field(default=20, ge=1, le=300)


class DetectedObject(TaskResult):
    label: str
    score: Score
    box: Box


class DetectResult(TaskResult):
    #: The surest first. The artifact `annotated` shows them on the picture.
    objects: list[DetectedObject]
    #: Of the upright image, in pixels: what the boxes count in.
    width: int
    height: int


TASK = TaskSchema(
    summary="Find objects, by your labels or the model's own, with boxes and a picture that shows them.",
    input=DetectInput,
    result=DetectResult,
    needs=("Detector", "OpenDetector"),
    example={"image": {"part": "photo"}, "labels": ["cat", "cup"]},
)
