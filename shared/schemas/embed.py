"""`embed`: vectors for images and texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from shared.schemas.base import ImageRef, TaskInput, TaskResult, TaskSchema, Text


class EmbedInput(TaskInput):
    images: list[ImageRef] = Field(default_factory=list)
    texts: list[Text] = Field(default_factory=list)
    #: `joint` compares images with texts; `text` and `image` are each encoder's own space.
    space: Literal["joint", "text", "image"] = "joint"
    #: `base64` is little-endian float32.
    encoding: Literal["float", "base64"] = "float"

    @model_validator(mode="after")
    def _something_to_embed(self) -> EmbedInput:
        if not self.images and not self.texts:
            raise ValueError("give at least one image or one text")
        if self.space == "text" and self.images:
            raise ValueError("space 'text' takes texts only; use 'joint' to compare images with texts")
        if self.space == "image" and self.texts:
            raise ValueError("space 'image' takes images only; use 'joint' to compare images with texts")
        return self


class EmbedResult(TaskResult):
    #: One unit-length vector per image, in order: floats, or base64 text.
    image_vectors: list[list[float] | str]
    #: One unit-length vector per text, in order.
    text_vectors: list[list[float] | str]
    dim: int


TASK = TaskSchema(
    summary="Turn images and texts into vectors of one space, to search, cluster or compare them.",
    input=EmbedInput,
    result=EmbedResult,
    needs=("TextEncoder", "ImageEncoder", "JointEncoder"),
    example={"images": [{"part": "photo"}], "texts": ["a cat asleep on a sofa"], "space": "joint"},
)
