"""What is asked of a film and what comes back: all that its child and its parent both know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.media.views import View, settled

#: uint8 of shape (height, width, 3), RGB, upright.
Pixels = NDArray[np.uint8]
#: Samples that travel together: as many as a job's pictures do.
SAMPLES_TOGETHER = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be seen of a film."""

    #: Frames looked at, a second; a frame that stays longer is looked at once.
    sample_fps: float
    #: How each of these is shown.
    samples: View
    #: How the middle frame of each shot is shown, once for each.
    stills: tuple[View, ...] = ()
    #: How the frames of a clip of each shot are shown; None: no clips.
    clip: View | None = None
    #: Frames of a clip, spread over its shot.
    clip_frames: int = 0

    def settled(self, width: int, height: int) -> Wanted:
        """Return the same for a film of this size, where every view has the size that it will have."""
        return replace(
            self,
            samples=settled(self.samples, (width, height)),
            stills=tuple(settled(view, (width, height)) for view in self.stills),
            clip=None if self.clip is None else settled(self.clip, (width, height)),
        )

    def of_shot(self) -> tuple[View, ...]:
        """Return how the pictures that come with a shot are shown, in their order."""
        return self.stills + (() if self.clip is None else (self.clip,) * self.clip_frames)

    def most_bytes(self) -> int:
        """Return how large the pictures of one part can be."""
        return SAMPLES_TOGETHER * _bytes(self.samples) + sum(map(_bytes, self.of_shot()))


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame as it looks at some moment, and until the next."""

    #: From the film's first frame.
    time_s: float
    pixels: Pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """What is between two cuts."""

    start_s: float
    end_s: float
    #: When the still is.
    middle_s: float
    #: A frame near the middle, in each view asked for.
    stills: tuple[Pixels, ...]
    #: uint8 of shape (frames, height, width, 3), evenly spread; None: not asked for.
    clip: NDArray[np.uint8] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What was seen since the last part: at most `SAMPLES_TOGETHER` samples, at most one shot."""

    #: How far the film is decoded.
    time_s: float
    samples: tuple[Sample, ...]
    #: One that ended here; it began in this part or an earlier one, and so did its samples.
    shot: Shot | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Title:
    """What a film says of itself before it begins."""

    #: In pixels, upright, as they are shown: square.
    width: int
    height: int
    #: By its header, which may be wrong; None: it does not say.
    expected_s: float | None


class Film(Protocol):
    """A film that is being decoded."""

    @property
    def title(self) -> Title: ...

    @property
    def duration_s(self) -> float:
        """Return how long it was, once all parts were seen."""

    @property
    def waited_s(self) -> float:
        """Return for how long somebody waited for parts."""

    def parts(self) -> Iterator[Part]:
        """Yield the film, once, part by part.

        Raises:
            VideoRefused, VideoCorrupt, VideoUndecodable: the rest of the film is not as its header promised.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmLimits:
    """How much of a film there may be."""

    #: Width times height of a frame.
    pixels: int
    seconds: float
    #: Frames looked at.
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmTerms:
    """What a film's child is given for life."""

    #: Address space, in bytes.
    memory_bytes: int
    #: CPU time of the whole film.
    cpu_seconds: float
    #: The film, open for reading.
    film_descriptor: int
    #: Of the shared memory: its descriptor in both processes, and its size.
    shared_descriptor: int
    shared_bytes: int
    limits: FilmLimits
    wanted: Wanted

    def written(self) -> str:
        """Return the terms as one word of a command line."""
        return json.dumps(asdict(self))


def read(word: str) -> FilmTerms:
    """Return what `FilmTerms.written` wrote."""
    said: dict[str, Any] = json.loads(word)
    wanted = said.pop("wanted")
    clip = wanted.pop("clip")
    return FilmTerms(
        **said | {"limits": FilmLimits(**said["limits"])},
        wanted=Wanted(
            sample_fps=wanted["sample_fps"],
            samples=View(**wanted["samples"]),
            stills=tuple(View(**view) for view in wanted["stills"]),
            clip=None if clip is None else View(**clip),
            clip_frames=wanted["clip_frames"],
        ),
    )


def _bytes(view: View) -> int:
    return view.width * view.height * 3
