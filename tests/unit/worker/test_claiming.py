"""Threads that want jobs at the same time share one claim, and each job goes to one of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from shared.errors import StoreUnavailable
from shared.jobs import LOCAL, Claim, JobId
from worker.claiming import Claimer

DEADLINE_S = 20.0


def claim(number: int) -> Claim:
    return Claim(
        id=JobId(f"job_{number}"),
        attempt=1,
        tenant=LOCAL,
        task="echo",
        pool="default",
        input={},
        labels={},
        alone=False,
        timeout=None,
        queued_for=timedelta(0),
    )


class Queue:
    """A database that holds some jobs, and holds up the first claim until it is told to go on."""

    def __init__(self, jobs: int) -> None:
        self.jobs = [claim(number) for number in range(jobs)]
        self.asked: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def claim(self, count: int) -> list[Claim]:
        self.asked.append(count)
        if len(self.asked) == 1:
            self.begun.set()
            assert self.go_on.wait(DEADLINE_S)
        taken, self.jobs = self.jobs[:count], self.jobs[count:]
        return taken


def wait_for(claimer: Claimer, count: int) -> None:
    """Return once so many threads wait for the next claim."""
    pause = threading.Event()
    for _ in range(2000):
        if len(claimer._waiting) == count:
            return
        pause.wait(0.01)
    raise AssertionError(f"{count} threads never waited")


def test_those_who_come_during_a_claim_share_the_next_one() -> None:
    queue = Queue(jobs=5)
    claimer = Claimer(queue.claim)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(claimer.next)
        assert queue.begun.wait(DEADLINE_S)
        others = [threads.submit(claimer.next) for _ in range(6)]
        wait_for(claimer, 6)
        queue.go_on.set()
        got = [first.result(DEADLINE_S), *(other.result(DEADLINE_S) for other in others)]

    assert queue.asked == [1, 6]
    assert sorted(one.id for one in got if one) == [f"job_{number}" for number in range(5)]
    assert got.count(None) == 2


def test_a_claim_that_fails_fails_for_all_who_shared_it_and_the_next_is_made_anew() -> None:
    answers: list[list[Claim] | Exception] = [StoreUnavailable("away"), [claim(1)]]

    def store(_count: int) -> list[Claim]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    claimer = Claimer(store)
    with pytest.raises(StoreUnavailable):
        claimer.next()

    got = claimer.next()
    assert got is not None
    assert got.id == "job_1"
