"""The poller fills free slots while there is work, and no more than that."""

from __future__ import annotations

import threading
import time

from shared.errors import StoreUnavailable
from worker.poller import Poller

DEADLINE_S = 20.0


def test_without_work_nothing_is_claimed() -> None:
    drained: list[None] = []
    poller = Poller(lambda: False, lambda: drained.append(None), slots=4)
    poller.round()
    poller.close()
    assert drained == []


def test_work_is_drained_side_by_side_in_every_slot() -> None:
    together = threading.Barrier(3)
    poller = Poller(lambda: True, lambda: together.wait(DEADLINE_S), slots=3)
    poller.round()
    poller.close()
    assert not together.broken


def test_a_second_round_does_not_pile_up_on_the_first() -> None:
    started, go_on = threading.Semaphore(0), threading.Event()

    def drain() -> None:
        started.release()
        go_on.wait(DEADLINE_S)

    poller = Poller(lambda: True, drain, slots=2)
    poller.round()
    poller.round()
    assert all(started.acquire(timeout=DEADLINE_S) for _ in range(2))
    assert not started.acquire(blocking=False)
    go_on.set()
    poller.close()


def test_a_database_that_goes_away_frees_the_slot_for_later() -> None:
    calls = threading.Semaphore(0)

    def drain() -> None:
        calls.release()
        raise StoreUnavailable("the database does not answer")

    poller = Poller(lambda: True, drain, slots=1)
    poller.round()
    assert calls.acquire(timeout=DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    while not calls.acquire(timeout=0.01):
        assert time.monotonic() < deadline
        poller.round()
    poller.close()
