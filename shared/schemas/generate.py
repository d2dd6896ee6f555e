"""`generate`: an image from a text."""

from __future__ import annotations

from pydantic import Field

from shared.schemas.base import ImageRef, Score, TaskInput, TaskResult, TaskSchema, Text


class GenerateInput(TaskInput):
    prompt: Text
    #: In pixels, a multiple of 8; default: the model's own, as with `height`.
    width: int | None = Field(default=None, ge=64, le=2048, multiple_of=8)
    height: int | None = Field(default=None, ge=64, le=2048, multiple_of=8)
    steps: int | None = Field(default=None, ge=1, le=1000)
    #: The same seed, input and model give the same picture; default: one drawn for this job.
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    #: Where to start from, instead of noise.
    init_image: ImageRef | None = None
    #: How far from `init_image` the picture may go: 0 keeps it, 1 forgets it.
    strength: Score = 0.8


class GenerateResult(TaskResult):
    seed: int
    steps: int
    #: Of the artifact `image`, in pixels.
    width: int
    height: int


TASK = TaskSchema(
    summary="Make an image from a text, or change one by a text; previews while it runs.",
    input=GenerateInput,
    result=GenerateResult,
    needs=("Generator",),
    example={"prompt": "a lighthouse on a cliff", "seed": 7},
    timeout_s=3600.0,
)
