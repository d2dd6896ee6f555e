"""A pipeline's `Work` without a worker: models called at once, pictures decoded in this process."""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shared.jobs import Artifact
from shared.schemas.base import ImageRef, TaskInput
from shared.settings import Limits
from worker.media.images import decode
from worker.media.views import View
from worker.models.capabilities import Model, Pixels
from worker.models.registry import load_profile
from worker.pipeline import Pipeline, run_stages


class DirectWork:
    """Pictures are named by the `part` of their refs."""

    def __init__(self, models: Mapping[str, Model], pictures: Mapping[str, bytes]) -> None:
        self._models = models
        self._pictures = pictures
        #: Every operation that ran, `JointEncoder.embed_texts`, in order.
        self.calls: list[str] = []

    def images(self, refs: Sequence[ImageRef], view: View) -> list[Pixels]:
        return [np.asarray(decode(self._pictures[ref.part or ""], view, Limits())) for ref in refs]

    def map_images(
        self, operation: Callable[..., Sequence[Any]], refs: Sequence[ImageRef], view: View
    ) -> list[Any]:
        return self.map(operation, self.images(refs, view))

    def model(self, capability: type[Any]) -> Any:
        return self._models[capability.__name__]

    def map(self, operation: Callable[..., Sequence[Any]], items: Sequence[Any]) -> list[Any]:
        if not items:
            return []
        self.calls.append(operation.__qualname__)
        capability, name = operation.__qualname__.split(".")
        return list(getattr(self._models[capability], name)(items))

    def progress(self, fraction: float, message: str = "") -> None:
        pass

    def artifact(self, name: str, content: bytes, media_type: str) -> Artifact:
        raise NotImplementedError


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
