"""A pipeline's `Work` without a worker: models called at once, pictures decoded in this process."""

from __future__ import annotations

import functools
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from shared.jobs import Artifact, FileId
from shared.schemas.base import ImageRef, TaskInput, VideoRef
from shared.settings import Limits
from worker.media import Picture
from worker.media.images import framed
from worker.media.screening import FilmLimits, Part, Title, Wanted
from worker.media.views import View
from worker.models.capabilities import Model, Pixels
from worker.models.registry import load_profile
from worker.pipeline import Pipeline, run_stages

if TYPE_CHECKING:
    # The children's rooms: they bring FFmpeg and OpenCV along, which few tests need.
    from worker.media.footage import Footage
    from worker.media.projection import Projection


@dataclass
class DirectFilm:
    """A film decoded in this process."""

    footage: Footage
    projection: Projection
    waited_s: float = 0.0

    @property
    def title(self) -> Title:
        return self.footage.title

    @property
    def duration_s(self) -> float:
        return self.footage.time_s

    def parts(self) -> Iterator[Part]:
        return self.projection.parts()


class DirectWork:
    """Pictures are named by the `part` of their refs."""

    def __init__(self, models: Mapping[str, Model], pictures: Mapping[str, bytes]) -> None:
        self._models = models
        self._pictures = pictures
        #: Every operation that ran, `JointEncoder.embed_texts`, in order.
        self.calls: list[str] = []
        #: What was made: media type and content by name.
        self.artifacts: dict[str, tuple[str, bytes]] = {}
        #: What was reported: fraction, message, whether with a preview.
        self.reports: list[tuple[float, str, bool]] = []

    def images(self, refs: Sequence[ImageRef], view: View) -> list[Pixels]:
        return [picture.pixels for picture in self.pictures(refs, view)]

    def pictures(self, refs: Sequence[ImageRef], view: View) -> list[Picture]:
        found = [framed(self._pictures[ref.part or ""], view, Limits()) for ref in refs]
        return [Picture(np.asarray(one.image), *one.whole) for one in found]

    def map_images(
        self, operation: Callable[..., Sequence[Any]], refs: Sequence[ImageRef], view: View
    ) -> list[Any]:
        return self.map(operation, self.images(refs, view))

    @contextmanager
    def film(self, ref: VideoRef, wanted: Wanted) -> Iterator[DirectFilm]:
        # The film's child alone loads them otherwise.
        from worker.media.footage import Footage
        from worker.media.projection import Projection

        limits = Limits()
        within = FilmLimits(
            pixels=limits.video_pixels, seconds=limits.video_seconds, samples=limits.video_samples
        )
        footage = Footage(io.BytesIO(self._pictures[ref.part or ""]), within)
        yield DirectFilm(footage, Projection(footage, wanted, within))

    def model(self, capability: type[Any]) -> Any:
        return self._models[capability.__name__]

    def map(self, operation: Callable[..., Sequence[Any]], items: Sequence[Any]) -> list[Any]:
        if not items:
            return []
        self.calls.append(operation.__qualname__)
        capability, name = operation.__qualname__.split(".")
        return list(getattr(self._models[capability], name)(items))

    def has(self, capability: type[Model]) -> bool:
        return capability.__name__ in self._models

    def progress(self, fraction: float, message: str = "", preview: Pixels | None = None) -> None:
        self.reports.append((fraction, message, preview is not None))

    def artifact(self, name: str, content: bytes, media_type: str) -> Artifact:
        self.artifacts[name] = media_type, content
        file = FileId(hashlib.sha256(content).hexdigest())
        return Artifact(name=name, file=file, media_type=media_type, bytes=len(content))


def run(pipeline: Pipeline[Any, Any, Any, Any, Any], work: DirectWork, task_input: TaskInput) -> Any:
    """Return the result of the four stages."""
    return run_stages(pipeline, work, task_input, lambda _stage: None)


@functools.cache
def loaded(profile: str) -> Mapping[str, Model]:
    """Return a profile's models, loaded once in this process."""
    with tempfile.TemporaryDirectory() as folder:
        return load_profile(profile, device="cpu", cache_dir=Path(folder)).load_all()


def png(pixels: Pixels) -> bytes:
    """Return the picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def plain(colour: tuple[int, int, int], width: int = 32, height: int = 32) -> Pixels:
    """Return a picture of one colour."""
    return np.full((height, width, 3), colour, dtype=np.uint8)
