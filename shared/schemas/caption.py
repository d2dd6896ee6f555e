"""`caption`: an image in a sentence."""

from __future__ import annotations

from pydantic import Field

from shared.schemas.base import ImageRef, ScoredLabel, TaskInput, TaskResult, TaskSchema, Text


class CaptionInput(TaskInput):
    image: ImageRef
    #: How the sentence begins; a model that cannot go on from a beginning says so.
    prompt: Text | None = None
    #: The longest sentence, in the model's tokens.
    max_tokens: int = Field(default=40, ge=1, le=256)


class CaptionResult(TaskResult):
    text: str
    #: What in the picture the sentence rests on, surest first; empty where the model gives no account.
    evidence: list[ScoredLabel]


TASK = TaskSchema(
    summary="Describe an image in a sentence, with the evidence that the sentence rests on.",
    input=CaptionInput,
    result=CaptionResult,
    needs=("Captioner",),
    example={"image": {"part": "photo"}},
)
