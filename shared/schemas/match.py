"""`match`: which text belongs to which image."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.schemas.base import ImageRef, TaskInput, TaskResult, TaskSchema, Text


class MatchInput(TaskInput):
    images: list[ImageRef] = Field(min_length=1)
    texts: list[Text] = Field(min_length=1)


class MatchResult(TaskResult):
    #: Cosine of image i and text j in the joint space, in [-1, 1].
    scores: list[list[Annotated[float, Field(ge=-1.0, le=1.0)]]]
    #: For each image, the index of its best text.
    best_texts: list[int]
    #: For each text, the index of its best image.
    best_images: list[int]


TASK = TaskSchema(
    summary="Score every image against every text and name the best pairs.",
    input=MatchInput,
    result=MatchResult,
    needs=("ImageEncoder", "JointEncoder"),
    example={"images": [{"part": "photo"}], "texts": ["a cup of coffee", "a rocket on its launch pad"]},
)
