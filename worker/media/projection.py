"""A film from its first frame to its last, in parts: what was asked for of it. In the film's child only."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from shared.errors import VideoTooLarge
from worker.media.cuts import Cuts
from worker.media.footage import Footage
from worker.media.screening import SAMPLES_TOGETHER, FilmLimits, Part, Pixels, Sample, Shot, Wanted
from worker.media.stills import Spread, Still

#: A part is at least so often handed over, so that others see how far the film is.
_PART_S = 0.5
#: Of each shot, candidates for its middle: between half as many and as many, so the one that is taken is no
#: further from the middle than an eighth of the shot.
_CANDIDATES = 8
_CANDIDATES_STEP_S = 0.2
#: The least time between two frames of a clip.
_CLIP_STEP_S = 0.04


class Projection:
    """Shows one film once."""

    def __init__(self, footage: Footage, wanted: Wanted, limits: FilmLimits) -> None:
        """Take an opened film, and what is to be seen of it."""
        self._footage = footage
        title = footage.title
        self._wanted = wanted.settled(title.width, title.height)
        self._limits = limits
        self._cuts = Cuts(title.width, title.height, footage.rate)
        self._due_s = 0.0
        self._sampled = 0
        self._began_s = 0.0
        self._middles: Spread[tuple[Pixels, ...]] = Spread(_CANDIDATES, _CANDIDATES_STEP_S)
        self._clip: Spread[Pixels] = Spread(2 * self._wanted.clip_frames, _CLIP_STEP_S)

    def parts(self) -> Iterator[Part]:
        """Yield the film part by part; the last shot comes with the last.

        Raises:
            CallerError: as `Footage` does; `VideoTooLarge`: there are more frames to look at than may be.
        """
        samples: list[Sample] = []
        handed_over = time.monotonic()
        for time_s, frame in self._footage:
            still = Still(frame, self._footage.turn)
            for cut_s in self._cuts.look(time_s, frame):
                yield self._part(samples, self._shot(cut_s))
                samples, handed_over = [], time.monotonic()
            self._keep(time_s, still)
            samples += self._sample(time_s, still)
            if len(samples) == SAMPLES_TOGETHER or time.monotonic() > handed_over + _PART_S:
                yield self._part(samples, None)
                samples, handed_over = [], time.monotonic()
        yield self._part(samples, self._shot(self._footage.time_s))

    def _part(self, samples: list[Sample], shot: Shot | None) -> Part:
        return Part(time_s=self._footage.time_s, samples=tuple(samples), shot=shot)

    def _sample(self, time_s: float, still: Still) -> list[Sample]:
        if time_s < self._due_s:
            return []
        self._sampled += 1
        if self._sampled > self._limits.samples:
            raise VideoTooLarge(
                f"there are more than {self._limits.samples:,} frames to look at, the limit; "
                "ask for a smaller sample_fps"
            )
        # On a fixed grid, so that frames a little late do not make the next ones later.
        self._due_s = (math.floor(time_s * self._wanted.sample_fps + 1e-6) + 1) / self._wanted.sample_fps
        return [Sample(time_s, still.shown(self._wanted.samples))]

    def _keep(self, time_s: float, still: Still) -> None:
        if self._wanted.stills and self._middles.wants(time_s):
            self._middles.put(time_s, tuple(still.shown(view) for view in self._wanted.stills))
        if self._wanted.clip is not None and self._clip.wants(time_s):
            self._clip.put(time_s, still.shown(self._wanted.clip))

    def _shot(self, end_s: float) -> Shot:
        """Return the shot that ends here, and begin the next."""
        middles, clip = self._middles, self._clip
        self._middles, self._clip = middles.cut(end_s), clip.cut(end_s)
        start_s, self._began_s = self._began_s, end_s
        middle_s = (start_s + end_s) / 2
        stills: tuple[Pixels, ...] = ()
        if self._wanted.stills:
            middle_s, stills = middles.nearest(middle_s)
        return Shot(
            start_s=start_s,
            end_s=end_s,
            middle_s=middle_s,
            stills=stills,
            clip=None if self._wanted.clip is None else np.stack(clip.evenly(self._wanted.clip_frames)),
        )
