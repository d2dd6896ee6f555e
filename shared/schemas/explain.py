"""`explain`: which part of an image a text speaks of, and which words matter."""

from __future__ import annotations

from shared.schemas.base import Box, ImageRef, Score, TaskInput, TaskResult, TaskSchema, Text


class ExplainInput(TaskInput):
    image: ImageRef
    text: Text


class Region(TaskResult):
    #: The share of the heat map's mass inside the box.
    score: Score
    box: Box


class TokenWeight(TaskResult):
    token: str
    #: What the score loses without the word; negative: the word speaks against the picture.
    weight: float


class ExplainResult(TaskResult):
    #: How well the text fits the picture: their cosine, in [-1, 1].
    score: float
    #: Where the heat is, the most of it first. Artifacts: `heatmap`, and `overlay` over the picture.
    regions: list[Region]
    #: The text's words in order.
    tokens: list[TokenWeight]
    #: Of the upright image, in pixels: what the boxes count in.
    width: int
    height: int


TASK = TaskSchema(
    summary="Show where in an image a text is, as a heat map, and which of its words decide.",
    input=ExplainInput,
    result=ExplainResult,
    needs=("Explainer",),
    example={"image": {"part": "photo"}, "text": "a cat with green eyes"},
)
