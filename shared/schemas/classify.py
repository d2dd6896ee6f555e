"""`classify`: what an image shows, in the light of a text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from shared.schemas.base import ImageRef, ScoredLabel, TaskInput, TaskResult, TaskSchema, Text


class ClassifyInput(TaskInput):
    image: ImageRef
    #: The context: with it, `fusion` decides how it weighs on the answer.
    text: Text | None = None
    #: The names to choose from; neither labels nor head: the model's own vocabulary, or with a text to attend
    #: by that of its trained fusion, where the profile has one.
    labels: list[Text] | None = Field(default=None, min_length=1)
    #: The name of a classifier made by `train`.
    head: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    #: `attention`: the text attends over the image's regions; `mean`: the mean of text and image vectors;
    #: `none`: the image alone.
    fusion: Literal["attention", "mean", "none"] = "attention"
    top_k: int = Field(default=5, ge=1, le=100)

    @model_validator(mode="after")
    def _one_source_of_labels(self) -> ClassifyInput:
        if self.labels is not None and self.head is not None:
            raise ValueError("give labels or a head, not both")
        return self


class ClassifyResult(TaskResult):
    #: The best `top_k`, best first.
    labels: list[ScoredLabel]
    #: The image in words, as the conversion stage put it.
    description: str | None = None


TASK = TaskSchema(
    summary="Name what an image shows; a context text turns the answer to the region it speaks of.",
    input=ClassifyInput,
    result=ClassifyResult,
    needs=("ImageEncoder", "JointEncoder"),
    uses=("FusionClassifier",),
    example={
        "image": {"part": "photo"},
        "text": "the animal on the left",
        "labels": ["cat", "dog", "teapot"],
    },
)
