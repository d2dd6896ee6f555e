"""What a running job may use: its pictures, the models, a place for what it makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, TypeVar

from shared.blobs import BlobStore
from shared.errors import CallerError, FileMissing, NotFound
from shared.jobs import Artifact, FileId
from shared.schemas.base import FileRef, ImageRef, VideoRef
from worker.downloads import Downloads
from worker.engine import Engine, Pending
from worker.heartbeat import Held
from worker.media import Decoder, Picture
from worker.media.encode import preview_uri
from worker.media.films import Films
from worker.media.screening import Film, Wanted
from worker.media.views import View
from worker.models.capabilities import Model, Pixels
from worker.pipeline import Answer, Capability, Item

#: Pictures of one job that go to the device as soon as they are decoded, while the next ones still are.
_TOGETHER = 8

Waited = TypeVar("Waited")


class JobWork:
    """`worker.pipeline.Work` for one attempt at one job."""

    def __init__(
        self,
        held: Held,
        *,
        done: Callable[[str, float], float],
        engine: Engine,
        decoder: Decoder,
        films: Films,
        blobs: BlobStore,
        downloads: Downloads,
        readers: Executor,
    ) -> None:
        """Take the attempt and the process's shared parts.

        Args:
            held: the attempt.
            done: how much of the whole job is done with so much of a stage, `Pipeline.done`.
            engine: the models.
            decoder: of pictures.
            films: of films.
            blobs: where the files are.
            downloads: of this attempt; closed by whoever made them.
            readers: threads that read and decode the pictures of one job side by side.
        """
        self._held = held
        self._done = done
        self._engine = engine
        self._decoder = decoder
        self._films = films
        self._blobs = blobs
        self._downloads = downloads
        self._readers = readers
        self._stage_began = time.monotonic()
        self.artifacts: list[Artifact] = []
        self.timings_ms: dict[str, float] = {}

    def images(self, refs: Sequence[ImageRef], view: View) -> list[Pixels]:
        return [picture.pixels for picture in self._decoded(refs, view)]

    def pictures(self, refs: Sequence[ImageRef], view: View) -> list[Picture]:
        return list(self._decoded(refs, view))

    def map_images(
        self,
        operation: Callable[[Any, Sequence[Pixels]], Sequence[Answer]],
        refs: Sequence[ImageRef],
        view: View,
    ) -> list[Answer]:
        pending: list[Pending[Answer]] = []
        try:
            for group in _groups(picture.pixels for picture in self._decoded(refs, view)):
                first = len(pending) * _TOGETHER
                pending.append(self._engine.submit(operation, group, ticket=self._held.ticket, first=first))
            return [answer for one in pending for answer in one.result()]
        finally:
            for one in pending:
                one.cancel()

    def _decoded(self, refs: Sequence[ImageRef], view: View) -> Iterator[Picture]:
        """Yield each picture as soon as it and those before it are decoded."""
        self._fetch(refs)
        pending = [self._readers.submit(self._image, ref, view) for ref in refs]
        try:
            for index, future in enumerate(pending):
                with self._timed("decode"):
                    picture = self._named(index, len(refs), future.result)
                yield picture
        finally:
            for future in pending:
                future.cancel()

    @contextmanager
    def film(self, ref: VideoRef, wanted: Wanted) -> Iterator[Film]:
        check = self._held.ticket.check
        with self._opened(ref) as content, self._films.open(content, wanted, check) as film:
            try:
                yield film
            finally:
                self.timings_ms["decode"] = self.timings_ms.get("decode", 0.0) + film.waited_s * 1000

    def model(self, capability: type[Capability]) -> Capability:
        return self._engine.model(capability, self._held.ticket)

    def has(self, capability: type[Model]) -> bool:
        return self._engine.has(capability)

    def map(
        self, operation: Callable[[Any, Sequence[Item]], Sequence[Answer]], items: Sequence[Item]
    ) -> list[Answer]:
        return self._engine.map(operation, items, ticket=self._held.ticket) if items else []

    def progress(self, fraction: float, message: str = "", preview: Pixels | None = None) -> None:
        self._held.ticket.check()
        before = self._held.progress
        done = self._done(before.stage, min(max(fraction, 0.0), 1.0))
        self._held.progress = replace(
            before,
            fraction=max(done, before.fraction),
            message=message,
            preview=before.preview if preview is None else preview_uri(preview),
        )

    def artifact(self, name: str, content: bytes, media_type: str) -> Artifact:
        made = Artifact(name=name, file=self._blobs.put(content), media_type=media_type, bytes=len(content))
        self.artifacts.append(made)
        return made

    def enter(self, stage: str) -> None:
        """Begin a stage: others see it, and a stopped job goes no further."""
        self.finish()
        self._held.progress = replace(self._held.progress, stage=stage)
        self.progress(0.0)

    def finish(self) -> None:
        """Book the time of the stage that ends here."""
        now = time.monotonic()
        if stage := self._held.progress.stage:
            self.timings_ms[stage] = (now - self._stage_began) * 1000
        self._stage_began = now

    def _image(self, ref: ImageRef, view: View) -> Picture:
        self._held.ticket.check()
        if ref.url is not None:
            content = self._downloads.picture(ref.url)
        else:
            with _named_when_gone(ref) as file:
                content = self._blobs.read(file)
        return self._decoder.picture(content, view)

    def _fetch(self, refs: Sequence[ImageRef]) -> None:
        """Return when the pictures by URL are here."""
        urls = [(index, ref.url) for index, ref in enumerate(refs) if ref.url is not None]
        if not urls:
            return
        with self._timed("fetch"):
            self._downloads.begin(url for _, url in urls)
            for index, url in urls:
                self._named(index, len(refs), partial(self._downloads.wait, url))

    def _opened(self, ref: VideoRef) -> AbstractContextManager[BinaryIO]:
        if ref.url is not None:
            return self._fetched(ref.url)
        with _named_when_gone(ref) as file:
            return self._blobs.open(file)

    @contextmanager
    def _fetched(self, url: str) -> Iterator[BinaryIO]:
        with ExitStack() as held:
            with self._timed("fetch"):
                film = held.enter_context(self._downloads.film(url))
            yield film

    def _named(self, index: int, count: int, result: Callable[[], Waited]) -> Waited:
        """Return what is waited for, or say which of several pictures is at fault."""
        try:
            return result()
        except CallerError as error:
            if count > 1:
                error.message = f"image {index}: {error.message}"
                error.args = (error.message,)
            raise

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        beginning = time.monotonic()
        try:
            yield
        finally:
            self.timings_ms[name] = self.timings_ms.get(name, 0.0) + (time.monotonic() - beginning) * 1000


@contextmanager
def _named_when_gone(ref: FileRef) -> Iterator[FileId]:
    """Lend the id of a stored file, which may have been deleted."""
    if ref.file is None:
        raise FileMissing("the stored input names no file")
    try:
        yield FileId(ref.file)
    except NotFound as error:
        raise FileMissing(f"the file {ref.file} is gone") from error


def _groups(pictures: Iterator[Pixels]) -> Iterator[list[Pixels]]:
    while group := list(islice(pictures, _TOGETHER)):
        yield group
