"""A job as a straight line: `extract -> convert -> fuse -> output`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from shared.jobs import Artifact
from shared.schemas.base import ImageRef, TaskInput, TaskResult, VideoRef
from worker.media import Picture
from worker.media.screening import Film, Wanted
from worker.media.views import View
from worker.models.capabilities import Model, Pixels

STAGES = ("extract", "convert", "fuse", "output")

Input = TypeVar("Input", bound=TaskInput)
Result = TypeVar("Result", bound=TaskResult)
Extracted = TypeVar("Extracted")
Converted = TypeVar("Converted")
Fused = TypeVar("Fused")
Capability = TypeVar("Capability", bound=Model)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class JobStopped(Exception):
    """The job must not go on in this process; not an error: somebody wanted it so."""


class JobCanceled(JobStopped):
    """Its owner cancelled it."""


class WorkerDraining(JobStopped):
    """This worker is going away; another takes the job over."""


class Work(Protocol):
    """What a stage may ask for while a job runs: pictures, models, a place for what it made."""

    def images(self, refs: Sequence[ImageRef], view: View) -> list[Pixels]:
        """Return each picture decoded, upright, RGB, in the view.

        Raises:
            ImageCorrupt, ImageUndecodable, ImageRefused: names the picture by its place in the input.
            UrlRefused, UrlUnreachable, FileTooLarge: as well, where it is one by URL.
        """

    def pictures(self, refs: Sequence[ImageRef], view: View) -> list[Picture]:
        """Return what `images` does, each with its size before it was brought into the view.

        Raises:
            ImageCorrupt, ImageUndecodable, ImageRefused: names the picture by its place in the input.
            UrlRefused, UrlUnreachable, FileTooLarge: as well, where it is one by URL.
        """

    def map_images(
        self,
        operation: Callable[[Any, Sequence[Pixels]], Sequence[Answer]],
        refs: Sequence[ImageRef],
        view: View,
    ) -> list[Answer]:
        """Decode each picture into the view and run an operation on it: one answer per picture, in order.

        The device works on the first pictures while the last are still being decoded.

        Raises:
            ImageCorrupt, ImageUndecodable, ImageRefused: names the picture by its place in the input.
            UrlRefused, UrlUnreachable, FileTooLarge: as well, where it is one by URL.
            ModelFailed, JobStopped, JobTimeout, LeaseLost: as `map`.
        """

    def film(self, ref: VideoRef, wanted: Wanted) -> AbstractContextManager[Film]:
        """Lend a film while it is decoded, at most a part ahead of whoever looks at it.

        Raises:
            VideoRefused, VideoCorrupt, VideoUndecodable: at once, or where the film's broken part comes.
            UrlRefused, UrlUnreachable, FileTooLarge: at once, where it is one by URL.
            JobStopped, JobTimeout, LeaseLost: the job must not go on.
        """

    def model(self, capability: type[Capability]) -> Capability:
        """Return the model behind a capability, for its properties only; operations go through `map`.

        Raises:
            ModelUnavailable: this worker's profile has none.
        """

    def has(self, capability: type[Model]) -> bool:
        """Return whether this worker's profile serves a capability that a task can do without."""

    def map(
        self, operation: Callable[[Any, Sequence[Item]], Sequence[Answer]], items: Sequence[Item]
    ) -> list[Answer]:
        """Run a capability's operation on the device, batched with other jobs: one answer per item, in order.

        `work.map(TextEncoder.encode_texts, texts)`. No items, no call.

        Raises:
            ModelFailed: the model fails on one of these items, even alone.
            JobStopped, JobTimeout, LeaseLost: the job must not go on.
        """

    def progress(self, fraction: float, message: str = "", preview: Pixels | None = None) -> None:
        """Report how much of the present stage is done, in [0, 1]; raises what stopped the job, if it was.

        Args:
            fraction: less than was reported before counts as that.
            message: a few words, `step 3 of 40`.
            preview: what it looks like so far; others see it small, until the next one.
        """

    def artifact(self, name: str, content: bytes, media_type: str) -> Artifact:
        """Store a file beside the result."""


@dataclass(frozen=True, slots=True)
class Pipeline(Generic[Input, Extracted, Converted, Fused, Result]):
    """The four stages of one task. `worker/tasks/<task>.py` holds one as `PIPELINE`."""

    #: Text features and image features.
    extract: Callable[[Work, Input], Extracted]
    #: From one modality to the other: image features to words, words and image features to the joint space.
    convert: Callable[[Work, Input, Extracted], Converted]
    #: Both modalities into one.
    fuse: Callable[[Work, Input, Converted], Fused]
    #: The task's answer.
    output: Callable[[Work, Input, Fused], Result]
    #: What each stage takes of the whole, about: a job's progress grows by it. Any unit.
    efforts: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    def done(self, stage: str, fraction: float) -> float:
        """Return how much of the whole job is done, in [0, 1], with so much of a stage."""
        place = STAGES.index(stage)
        return (sum(self.efforts[:place]) + self.efforts[place] * fraction) / sum(self.efforts)


def run_stages(
    pipeline: Pipeline[Any, Any, Any, Any, Result],
    work: Work,
    task_input: TaskInput,
    enter: Callable[[str], None],
) -> Result:
    """Run the four stages in order; `enter` is told each stage's name as it begins, and may stop the job."""
    value: Any = task_input
    for stage in STAGES:
        enter(stage)
        step = getattr(pipeline, stage)
        value = step(work, task_input) if stage == "extract" else step(work, task_input, value)
    return value  # type: ignore[no-any-return]  # the stages' types meet in Pipeline's parameters
