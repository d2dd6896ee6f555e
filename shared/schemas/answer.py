"""`answer`: a question about an image."""

from __future__ import annotations

from pydantic import Field

from shared.schemas.base import ImageRef, Score, TaskInput, TaskResult, TaskSchema, Text


class AnswerInput(TaskInput):
    image: ImageRef
    question: Text
    #: The answers to choose from; without them the model answers freely.
    candidates: list[Text] | None = Field(default=None, min_length=1)


class Alternative(TaskResult):
    answer: str
    confidence: Score


class AnswerResult(TaskResult):
    #: `unknown` where the model does not know, or cannot answer such a question.
    answer: str
    confidence: Score
    #: The next best, surest first.
    alternatives: list[Alternative]


TASK = TaskSchema(
    summary="Answer a question about an image, freely or from given candidates; unknown is an answer too.",
    input=AnswerInput,
    result=AnswerResult,
    needs=("Answerer",),
    example={"image": {"part": "photo"}, "question": "What animal is this?"},
)
