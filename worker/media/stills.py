"""A film's frames as pictures, and which few of a shot's are kept. In the film's child only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from worker.media.screening import Pixels
from worker.media.views import View, kept

_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
#: As for pictures: shrink by whole factors first, down to this many times the view.
_REDUCING_GAP = 3.0

#: Times are sums of fractions.
_SAME_S = 1e-6

Kept = TypeVar("Kept")


class Still:
    """One frame; converted once, however many views ask for it."""

    def __init__(self, frame: VideoFrame, turn: int) -> None:
        """Take a frame and by how much it is to be turned, counter-clockwise."""
        self._frame = frame
        self._turn = turn
        self._image: Image.Image | None = None

    def shown(self, view: View) -> Pixels:
        """Return the frame upright, in the view, which is `crop` or `stretch`."""
        image = self._upright()
        frame = image.resize(
            (view.width, view.height),
            _RESAMPLE[view.resample],
            box=kept(image.size, (view.width, view.height), view),
            reducing_gap=_REDUCING_GAP,
        )
        return np.asarray(frame)

    def _upright(self) -> Image.Image:
        if self._image is None:
            image = Image.fromarray(self._frame.reformat(format="rgb24", threads=1).to_ndarray())
            self._image = image.transpose(_TURNS[self._turn]) if self._turn else image
        return self._image


class Spread(Generic[Kept]):
    """Keeps a few of many moments, evenly spread, without knowing how many will come."""

    def __init__(self, capacity: int, step_s: float, kept: Sequence[tuple[float, Kept]] = ()) -> None:
        """Begin with one moment every `step_s`; when full, every other goes and the step doubles."""
        self._capacity = capacity
        self._first_step_s = self._step_s = step_s
        self._kept = list(kept)

    def wants(self, time_s: float) -> bool:
        """Return whether this moment is one to keep."""
        return not self._kept or time_s >= self._kept[-1][0] + self._step_s - _SAME_S

    def put(self, time_s: float, kept: Kept) -> None:
        """Keep a moment later than the others."""
        self._kept.append((time_s, kept))
        if len(self._kept) > self._capacity:
            self._kept = self._kept[::2]
            self._step_s *= 2

    def cut(self, time_s: float) -> Spread[Kept]:
        """Give up what is at this time or later, and return it as the beginning of another."""
        later = [one for one in self._kept if one[0] >= time_s]
        self._kept = self._kept[: len(self._kept) - len(later)]
        return Spread(self._capacity, self._first_step_s, later)

    def nearest(self, time_s: float) -> tuple[float, Kept]:
        """Return the moment nearest to a time."""
        return min(self._kept, key=lambda one: abs(one[0] - time_s))

    def evenly(self, count: int) -> list[Kept]:
        """Return so many of them in order, from the first to the last; some twice where they are fewer."""
        last = len(self._kept) - 1
        return [self._kept[round(index * last / max(1, count - 1))][1] for index in range(count)]
