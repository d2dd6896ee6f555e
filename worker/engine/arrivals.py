"""How quickly requests for one operation follow each other: whether waiting for one more is worth it."""

from __future__ import annotations

#: How much the latest gap weighs: after four quick arrivals a slow hour is forgotten.
_WEIGHT = 0.25
#: Of `max_wait`: a typical gap above this share promises no neighbour worth a wait.
_HOPELESS = 0.75
#: Typical gaps without an arrival after which the rest of a burst is not expected any more.
_SILENCE = 4

#: Of `max_wait`: no burst is over sooner, since the threads of a burst take turns at the interpreter.
_BREATH = 0.25


class Arrivals:
    """The arrivals at one operation. No clock in here: the caller tells the time, in seconds."""

    def __init__(self, max_wait: float) -> None:
        #: The longest that anything waits; longer gaps count as this.
        self._max_wait = max_wait
        self._last: float | None = None
        #: The typical gap; None: too early to tell.
        self._gap: float | None = None

    def note(self, now: float) -> None:
        """Learn from one more arrival."""
        if self._last is not None:
            gap = min(now - self._last, self._max_wait)
            self._gap = gap if self._gap is None else self._gap + _WEIGHT * (gap - self._gap)
        self._last = now

    def hope_ends(self) -> float:
        """Return the time from which on nobody should wait for a neighbour any more."""
        if self._last is None or self._gap is None:
            return float("inf")
        if self._gap > _HOPELESS * self._max_wait:
            return self._last
        return self._last + max(_SILENCE * self._gap, _BREATH * self._max_wait)
