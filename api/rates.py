"""How fast the workers get through what waits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from shared.errors import StoreUnavailable
from shared.jobs import Json, WorkerId

#: A worker with less to do than before is not slower, but one that got slower is to be found out: a rate that
#: is not reached again counts for a third after so long, newer ones for the rest. No job at all says nothing.
_MEMORY = timedelta(minutes=1)
#: Of two announcements that are further apart, nobody knows how long there was nothing to do in between.
_LONGEST_SPAN = timedelta(minutes=2)


#: Between two looks at the workers, in seconds; they announce themselves less often than that.
_FRESH_S = 2.0


@dataclass(kw_only=True, slots=True)
class _Course:
    """What is known of one worker."""

    #: By its own clock, in seconds.
    at_s: float
    #: Jobs ended since it started, by pool.
    settled: dict[str, int]
    #: Jobs a second, by pool.
    rates: dict[str, float] = field(default_factory=dict)


class DrainRate:
    """Jobs that end per second, from what living workers announce: how many ended so far, and when that was.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._courses: dict[WorkerId, _Course] = {}

    def note(self, workers: Iterable[tuple[WorkerId, Json]]) -> None:
        """Take what all living workers say of themselves now; those that are missing have gone."""
        courses: dict[WorkerId, _Course] = {}
        for worker, info in workers:
            at_s, settled = info.get("clock_s"), info.get("outcomes", {}).get("settled")
            # A worker of an earlier release counts nothing.
            if isinstance(at_s, (int, float)) and isinstance(settled, dict):
                course = self._courses.get(worker) or _Course(at_s=at_s, settled=settled)
                _follow(course, at_s, settled)
                courses[worker] = course
        self._courses = courses

    def per_second(self, pool: str | None = None) -> float | None:
        """Return the rate of a pool, or of all together; None while none is known."""
        rates = [
            rate
            for course in self._courses.values()
            for name, rate in course.rates.items()
            if pool in {None, name}
        ]
        return sum(rates) or None


class Forecast:
    """When a waiting job may begin, by how fast jobs of its pool end. Thread-safe."""

    def __init__(
        self,
        workers: Callable[[], list[tuple[WorkerId, Json]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take whom to ask.

        Args:
            workers: what each living worker says of itself.
            clock: seconds.
        """
        self._ask_workers = workers
        self._clock = clock
        self._rate = DrainRate()
        self._lock = threading.Lock()
        self._stale_at = -1.0

    def eta_s(self, pool: str, position: int) -> float | None:
        """Return in how many seconds a job may begin that has so many before it; None: nobody knows yet."""
        with self._lock:
            if self._clock() >= self._stale_at:
                self._stale_at = self._clock() + _FRESH_S
                with suppress(StoreUnavailable):
                    self._rate.note(self._ask_workers())
            rate = self._rate.per_second(pool)
        return None if rate is None else round(position / rate, 1)


def _follow(course: _Course, at_s: float, settled: dict[str, int]) -> None:
    span_s = at_s - course.at_s
    if span_s <= 0:
        return
    for pool, count in settled.items():
        measured = (count - course.settled.get(pool, 0)) / span_s
        before = course.rates.get(pool, 0.0)
        if span_s <= _LONGEST_SPAN.total_seconds() and measured > 0:
            kept = math.exp(-span_s / _MEMORY.total_seconds())
            course.rates[pool] = max(measured, before * kept + measured * (1 - kept))
    course.at_s, course.settled = at_s, dict(settled)
