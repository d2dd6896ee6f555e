"""`stylize`: an image in the manner of another."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from shared.schemas.base import Frozen, ImageRef, Score, TaskInput, TaskResult, TaskSchema


class Style(Frozen):
    """A style, named in exactly one of these ways."""

    #: One of the model's own; a name that it lacks is answered with those it has.
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    #: Any picture, for its manner.
    image: ImageRef | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Style:
        if (self.name is None) == (self.image is None):
            raise ValueError("give exactly one of name, image")
        return self


class StylizeInput(TaskInput):
    image: ImageRef
    style: Style
    #: 0 leaves the picture as it is, 1 gives it the whole style.
    strength: Score = 1.0
    #: Of a model that works step by step; default: the model's own.
    steps: int | None = Field(default=None, ge=1, le=1000)


class StylizeResult(TaskResult):
    #: Of the artifact `image`, in pixels.
    width: int
    height: int


TASK = TaskSchema(
    summary="Paint an image in a named style, or in the manner of another image.",
    input=StylizeInput,
    result=StylizeResult,
    needs=("Stylizer",),
    # Not every model has styles of its own; any picture is one.
    example={"image": {"part": "photo"}, "style": {"image": {"part": "style"}}},
    timeout_s=1800.0,
)
