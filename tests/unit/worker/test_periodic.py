"""A step is taken again and again, at once when somebody asks, until it is closed."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from worker.periodic import Periodic

NEVER = timedelta(hours=1)
DEADLINE_S = 20.0


def test_whoever_wakes_it_waits_for_no_interval() -> None:
    wake, taken = threading.Event(), threading.Semaphore(0)
    periodic = Periodic("waker", NEVER, taken.release, wake=wake)
    periodic.start()
    for _ in range(3):
        wake.set()
        assert taken.acquire(timeout=DEADLINE_S)
    periodic.close()

    assert not taken.acquire(blocking=False)


def test_it_ends_at_once_however_long_its_interval() -> None:
    periodic = Periodic("sleeper", NEVER, lambda: None)
    periodic.start()
    began = time.monotonic()
    periodic.close()

    assert time.monotonic() - began < DEADLINE_S


def test_a_step_that_fails_is_followed_by_the_next() -> None:
    taken = threading.Semaphore(0)

    def fail() -> None:
        taken.release()
        raise ValueError("a bug")

    periodic = Periodic("failing", timedelta(milliseconds=1), fail)
    periodic.start()
    assert all(taken.acquire(timeout=DEADLINE_S) for _ in range(3))
    periodic.close()
