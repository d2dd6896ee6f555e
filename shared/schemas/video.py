"""`video`: a film's shots, what they show, and when something that you describe happens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from shared.schemas.base import Frozen, Score, ScoredLabel, TaskInput, TaskResult, TaskSchema, Text, VideoRef

_HOUR_S = 3600.0


class Rule(Frozen):
    """Something to watch for."""

    #: What its events are called.
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    #: What it looks like.
    text: Text
    #: A frame matches from this score on.
    threshold: Score = 0.5
    #: Shorter matches are no event.
    min_duration_s: float = Field(default=1.0, ge=0.0, le=_HOUR_S)


class VideoInput(TaskInput):
    video: VideoRef
    #: What to name shots by; default: the model's own vocabulary.
    labels: list[Text] | None = Field(default=None, min_length=1)
    rules: list[Rule] = Field(default_factory=list, max_length=64)
    #: Frames looked at, a second.
    sample_fps: float = Field(default=2.0, ge=0.1, le=10.0)

    @field_validator("rules")
    @classmethod
    def _names_once(cls, rules: list[Rule]) -> list[Rule]:
        names = [rule.name for rule in rules]
        if again := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are named {again[0]!r}; give each a name of its own")
        return rules


class Shot(TaskResult):
    start_s: float
    end_s: float
    #: Of its middle frame.
    caption: str | None
    #: Over its frames, the surest first.
    labels: list[ScoredLabel]


class Event(TaskResult):
    rule: str
    start_s: float
    end_s: float
    #: The mean over its frames.
    score: Score


class VideoResult(TaskResult):
    duration_s: float
    #: In pixels, upright.
    width: int
    height: int
    #: From one cut to the next. The artifact `contact_sheet` shows the middle frame of each.
    shots: list[Shot]
    events: list[Event]


TASK = TaskSchema(
    summary="Cut a video into its shots, describe each, and tell when what your rules describe is seen.",
    input=VideoInput,
    result=VideoResult,
    needs=("ImageEncoder", "JointEncoder"),
    uses=("Captioner", "VideoClassifier"),
    example={
        "video": {"part": "film"},
        "rules": [{"name": "bicycle", "text": "a person riding a bicycle", "threshold": 0.5}],
    },
    timeout_s=3600.0,
)
