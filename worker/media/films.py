"""Films, each decoded in a child of its own. A hostile film costs at most its child, and only its own job."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from shared.errors import DecoderFailed, VideoUndecodable
from shared.settings import Limits
from worker.media import wire
from worker.media.projector import Projector
from worker.media.screening import (
    SAMPLES_TOGETHER,
    FilmLimits,
    FilmTerms,
    Part,
    Pixels,
    Sample,
    Shot,
    Title,
    Wanted,
)

#: How soon a stopped job, or a closed pool, is noticed by who waits for a place.
_LOOK_S = 0.2


class Film:
    """A film that is being decoded: `title` at once, `parts` once, `duration_s` thereafter."""

    def __init__(
        self, projector: Projector, wanted: Wanted, reason: Callable[[Exception], Exception]
    ) -> None:
        """Take a child that is ready.

        Args:
            projector: the child.
            wanted: what it was asked for.
            reason: what it means that the child died, or broke the protocol, in this way.

        Raises:
            CallerError: what the child says of the film's header.
        """
        self._projector = projector
        self._reason = reason
        #: For how long somebody waited for the child.
        self.waited_s = 0.0
        #: Known when all parts were seen.
        self.duration_s = 0.0
        projector.say_go_on()
        with self._hearing() as answer:
            self.title = _title(answer)
            projector.say_go_on()
        self._wanted = wanted.settled(self.title.width, self.title.height)

    def parts(self) -> Iterator[Part]:
        """Yield the film part by part; the child decodes the next while the caller looks at one.

        Raises:
            VideoRefused, VideoCorrupt, VideoUndecodable: the rest of the film is not as its header promised.
            DecoderFailed: the films are closed.
        """
        while True:
            with self._hearing() as answer:
                if "end_s" in answer:
                    self.duration_s = _time(answer["end_s"])
                    return
                part = self._part(answer)
                self._projector.say_go_on()
            yield part

    @contextmanager
    def _hearing(self) -> Iterator[dict[str, Any]]:
        """Lend the child's next answer; a child that cannot be understood is the film's fault."""
        began = time.monotonic()
        try:
            yield self._projector.hear()
        except (wire.PeerLost, OSError) as error:
            raise self._reason(error) from error
        finally:
            self.waited_s += time.monotonic() - began

    def _part(self, answer: dict[str, Any]) -> Part:
        """Return what the child said and laid into the shared memory."""
        times, shot = _numbers(answer, "samples"), _numbers(answer, "shot")
        if len(times) > SAMPLES_TOGETHER or len(shot) not in (0, 3):
            raise wire.PeerLost("a part has few samples, and a shot three times")
        views = [self._wanted.samples] * len(times) + list(self._wanted.of_shot() if shot else ())
        pictures = self._projector.pictures(views)
        return Part(
            time_s=_time(answer.get("time_s")),
            samples=tuple(Sample(*one) for one in zip(times, pictures, strict=False)),
            shot=self._shot(shot, pictures[len(times) :]) if shot else None,
        )

    def _shot(self, times: list[float], pictures: list[Pixels]) -> Shot:
        stills = len(self._wanted.stills)
        return Shot(
            start_s=times[0],
            end_s=times[1],
            middle_s=times[2],
            stills=tuple(pictures[:stills]),
            clip=None if self._wanted.clip is None else np.stack(pictures[stills:]),
        )


class Films:
    """Opens films, a few at a time."""

    def __init__(
        self, *, children: int, memory_bytes: int, cpu_seconds: float, silence_s: float, limits: Limits
    ) -> None:
        """Describe the children; none is started.

        Args:
            children: films at a time; others wait.
            memory_bytes: address space of one child, its libraries included.
            cpu_seconds: CPU time of one film.
            silence_s: how long a child may say nothing.
            limits: sizes and lengths that are refused.
        """
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        self._silence_s = silence_s
        self._limits = FilmLimits(
            pixels=limits.video_pixels, seconds=limits.video_seconds, samples=limits.video_samples
        )
        self._places = threading.BoundedSemaphore(children)
        self._lock = threading.Lock()
        self._living: set[Projector] = set()
        self._closed = False

    def close(self) -> None:
        """End every child; whoever waits for a part, or for a place, gets `DecoderFailed`."""
        with self._lock:
            self._closed = True
            for projector in self._living:
                projector.kill()

    @contextmanager
    def open(self, file: BinaryIO, wanted: Wanted, check: Callable[[], None]) -> Iterator[Film]:
        """Lend a film, decoded in a child that ends with the context; blocks until there is a place.

        Args:
            file: the film, at its start; closed by the caller.
            wanted: what is to be seen of it.
            check: called a few times a second while nothing comes; what it raises ends the child.

        Raises:
            VideoRefused, VideoCorrupt: what the film's header tells; later, while it is read, the rest of it.
            VideoUndecodable: it broke the limit of memory or time, or the child that decoded it.
            DecoderFailed: no child can be started, or `close` was called.
        """
        with ExitStack() as held:
            self._take_place(check)
            held.callback(self._places.release)
            projector = held.enter_context(closing(self._projector(file, wanted, check)))
            held.callback(self._forget, projector)
            yield Film(projector, wanted, partial(self._reason, projector))

    def _take_place(self, check: Callable[[], None]) -> None:
        while not self._places.acquire(timeout=_LOOK_S):
            check()
            if self._closed:
                raise DecoderFailed("the films are closed")

    def _projector(self, file: BinaryIO, wanted: Wanted, check: Callable[[], None]) -> Projector:
        terms = FilmTerms(
            memory_bytes=self._memory_bytes,
            cpu_seconds=self._cpu_seconds,
            film_descriptor=-1,
            shared_descriptor=-1,
            shared_bytes=wanted.most_bytes(),
            limits=self._limits,
            wanted=wanted,
        )
        projector = Projector(file, terms, self._silence_s, check)
        with self._lock:
            self._living.add(projector)
            if self._closed:
                projector.kill()
        return projector

    def _forget(self, projector: Projector) -> None:
        with self._lock:
            self._living.discard(projector)

    def _reason(self, projector: Projector, error: Exception) -> Exception:
        """Return what it means that a child died, or is to die for saying nothing or nonsense."""
        if self._closed:
            return DecoderFailed("the films are closed")
        if isinstance(error, TimeoutError):
            return VideoUndecodable(f"decoding the video made no progress for {self._silence_s:g} s")
        ending = projector.ended()
        if ending == "SIGXCPU":
            return VideoUndecodable(f"decoding the video takes more than {self._cpu_seconds:g} s of a CPU")
        return VideoUndecodable(f"decoding the video ended its process ({ending})")


def _title(answer: dict[str, Any]) -> Title:
    match answer.get("title"):
        case {"width": int(width), "height": int(height), "expected_s": float() | None as expected} if (
            width > 0 and height > 0
        ):
            return Title(width=width, height=height, expected_s=expected)
        case _:
            raise wire.PeerLost("the answer has no title")


def _numbers(answer: dict[str, Any], name: str) -> list[float]:
    found = answer.get(name) or []
    if not isinstance(found, list):
        raise wire.PeerLost(f"{name} is no list")
    return [_time(one) for one in found]


def _time(value: object) -> float:
    """Return a time that a child says, or it does not keep to the protocol."""
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    raise wire.PeerLost("a time is no time")
