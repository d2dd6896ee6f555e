"""What a task's schema module holds, and the values that schemas share.

A schema module (`shared/schemas/<task>.py`) defines `TASK`. The task's name is the module's name: a copy of
the file under another name is another task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.settings import Limits


class Words(str):
    """A text written by a person, told apart from the strings that choose an option: limits count it."""

    __slots__ = ()


#: One text: not blank; length is capped by `Limits.text_chars`, before any tokenizer sees it.
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S"), AfterValidator(Words)]
#: What an image file may be: media type to the format's name, as the decode children know it.
IMAGE_FORMATS: Mapping[str, str] = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
#: A score in [0, 1].
Score = Annotated[float, Field(ge=0.0, le=1.0)]


class Frozen(BaseModel):
    """Strict at the boundary: unknown fields are errors, values do not change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileRef(Frozen):
    """An image or video, named in exactly one of these ways. Stored jobs hold `file` or `url`."""

    #: What the header check and the decode child are asked to accept.
    kind: Literal["image", "video"] = Field(exclude=True, repr=False)
    file: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="The id that `POST /v1/files` answered (SHA-256)."
    )
    data: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None, description="The bytes themselves, base64."
    )
    part: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None, description="The name of a part of this multipart request."
    )
    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = Field(
        default=None,
        description=(
            "http or https, of the public internet, without user name and password; off unless the operator "
            "allows it. Fetched when the job runs, anew for each attempt; never stored."
        ),
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> FileRef:
        given = [name for name in ("file", "data", "part", "url") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of file, data, part, url; got {', '.join(given) or 'none'}")
        return self


class ImageRef(FileRef):
    """A picture."""

    kind: Literal["image"] = Field(default="image", exclude=True, repr=False)


class VideoRef(FileRef):
    """A film."""

    kind: Literal["video"] = Field(default="video", exclude=True, repr=False)


class TaskInput(Frozen):
    """The base of every task's input."""


class TaskResult(Frozen):
    """The base of every task's result."""


class ScoredLabel(TaskResult):
    """A label and what speaks for it."""

    label: str
    score: Score


#: x0, y0, x1, y1 in pixels of the upright picture, x0 < x1 and y0 < y1.
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSchema:
    """What both sides know of a task."""

    #: One sentence for the catalogue.
    summary: str
    input: type[TaskInput]
    result: type[TaskResult]
    #: The capabilities the worker's pipeline asks the engine for, by name.
    needs: Sequence[str]
    #: Those that it asks for where the profile has them, and can do without.
    uses: Sequence[str] = ()
    #: A runnable `input`, with `{"part": ...}` refs for the pictures.
    example: Mapping[str, Any]
    #: The timeout of a job that names none, in seconds.
    timeout_s: float = 300.0


def check_limits(task_input: TaskInput, limits: Limits) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what exceeds the limits, as (path, message), over every field of every task alike.

    Counted: images and texts in the whole input, characters of each text.
    """
    faults: list[tuple[tuple[str | int, ...], str]] = []
    images = 0
    texts = 0
    for path, value in walk(task_input):
        if isinstance(value, ImageRef):
            images += 1
        elif isinstance(value, Words):
            texts += 1
            if len(value) > limits.text_chars:
                faults.append(
                    (path, f"text of {len(value):,} characters; the limit is {limits.text_chars:,}")
                )
    if images > limits.images:
        faults.append(((), f"{images:,} images in one job; the limit is {limits.images:,}"))
    if texts > limits.texts:
        faults.append(((), f"{texts:,} texts in one job; the limit is {limits.texts:,}"))
    return faults


def walk(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    """Return every ref and every leaf of an input, with its path; refs are not entered."""
    if isinstance(value, FileRef):
        return [(path, value)]
    if isinstance(value, BaseModel):
        children: list[tuple[str | int, Any]] = [
            (name, getattr(value, name)) for name in type(value).model_fields
        ]
    elif isinstance(value, Mapping):
        children = list(value.items())
    elif isinstance(value, (list, tuple)):
        children = list(enumerate(value))
    else:
        return [(path, value)]
    return [leaf for key, child in children for leaf in walk(child, (*path, key))]
