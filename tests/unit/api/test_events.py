from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

import pytest

from api.events import Watcher
from shared.errors import StoreUnavailable
from shared.jobs import Job, JobId, JobState

TICK = timedelta(milliseconds=5)
LONG = timedelta(seconds=30)
SOON_S = 10.0


class Jobs:
    """A store that knows versions only."""

    def __init__(self) -> None:
        self.known: dict[JobId, tuple[int, JobState]] = {}
        self.asked: list[frozenset[JobId]] = []
        self.fetched: list[frozenset[JobId]] = []
        self.failures = 0
        self.looked = threading.Event()

    def versions(self, ids: Collection[JobId]) -> Mapping[JobId, tuple[int, JobState]]:
        self.asked.append(frozenset(ids))
        self.looked.set()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return {job: self.known[job] for job in ids if job in self.known}

    def many(self, ids: Collection[JobId]) -> Mapping[JobId, Job]:
        self.fetched.append(frozenset(ids))
        return {job: cast(Job, f"the whole of {job}") for job in ids if job in self.known}


JOB, OTHER = JobId("job_1"), JobId("job_2")


@pytest.fixture
def jobs() -> Jobs:
    found = Jobs()
    found.known = {JOB: (1, JobState.QUEUED), OTHER: (1, JobState.QUEUED)}
    return found


@pytest.fixture
def watcher(jobs: Jobs) -> Iterator[Watcher]:
    found = Watcher(jobs, interval=TICK, seats=3)
    yield found
    found.close()


@contextmanager
def waiting(watcher: Watcher, job: JobId = JOB, known: int | None = None) -> Iterator[threading.Event]:
    """Run a wait in a thread; the event is set when it has ended."""
    ended = threading.Event()

    def wait() -> None:
        watcher.wait(job, LONG, known=known)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    yield ended
    thread.join(SOON_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("state", [state for state in JobState if state.is_terminal])
def test_a_wait_ends_with_the_job(watcher: Watcher, jobs: Jobs, state: JobState) -> None:
    with waiting(watcher) as ended:
        assert jobs.looked.wait(SOON_S)
        jobs.known[JOB] = (2, JobState.RUNNING)
        assert not ended.wait(0.05)
        jobs.known[JOB] = (3, state)
        assert ended.wait(SOON_S)


def test_a_wait_for_news_ends_with_any_other_version(watcher: Watcher, jobs: Jobs) -> None:
    with waiting(watcher, known=1) as ended:
        assert jobs.looked.wait(SOON_S)
        jobs.known[JOB] = (2, JobState.RUNNING)
        assert ended.wait(SOON_S)


def test_a_wait_brings_the_ended_job_along(watcher: Watcher, jobs: Jobs) -> None:
    jobs.known[JOB] = (2, JobState.SUCCEEDED)

    assert watcher.wait(JOB, LONG) == f"the whole of {JOB}"


def test_a_wait_in_vain_brings_nothing(watcher: Watcher, jobs: Jobs) -> None:
    assert watcher.wait(JOB, timedelta(milliseconds=30)) is None
    jobs.known.clear()
    assert watcher.wait(JOB, LONG) is None
    assert jobs.fetched == []


def test_the_jobs_of_all_who_are_woken_come_in_one_query(slow: Watcher, jobs: Jobs) -> None:
    with waiting(slow), waiting(slow, OTHER), waiting(slow, OTHER):
        _until(lambda: len(slow._waiters) == 3)
        jobs.known = {JOB: (2, JobState.FAILED), OTHER: (2, JobState.FAILED)}

    assert jobs.fetched == [{JOB, OTHER}]


def test_a_wait_for_many_ends_with_the_last_of_them(watcher: Watcher, jobs: Jobs) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (watcher.wait_for_all([JOB, OTHER], LONG), ended.set()))
    thread.start()

    _until(lambda: {JOB, OTHER} in jobs.asked)
    jobs.known[JOB] = (2, JobState.FAILED)
    # Who has ended is not asked for again.
    _until(lambda: jobs.asked[-1] == {OTHER})
    assert not ended.is_set()
    jobs.known[OTHER] = (2, JobState.SUCCEEDED)

    assert ended.wait(SOON_S)
    thread.join()
    assert jobs.fetched == []


def test_a_wait_for_many_takes_one_seat(watcher: Watcher, jobs: Jobs) -> None:
    many = [JobId(f"job_{number}") for number in range(100)]
    jobs.known |= dict.fromkeys(many, (1, JobState.QUEUED))
    thread = threading.Thread(target=watcher.wait_for_all, args=(many, LONG))
    thread.start()

    _until(lambda: watcher._waiters)
    assert len(watcher._waiters) == 1
    watcher.close()
    thread.join()


def test_a_wait_for_none_is_over(watcher: Watcher) -> None:
    watcher.wait_for_all([], LONG)


def test_a_wait_for_a_job_that_is_gone_ends(watcher: Watcher, jobs: Jobs) -> None:
    jobs.known.clear()
    with waiting(watcher) as ended:
        assert ended.wait(SOON_S)


def test_a_wait_ends_when_its_time_is_up(watcher: Watcher) -> None:
    began = time.monotonic()

    watcher.wait(JOB, timedelta(milliseconds=50))

    assert 0.05 <= time.monotonic() - began < SOON_S


def test_all_who_wait_are_served_by_one_query(watcher: Watcher, jobs: Jobs) -> None:
    with waiting(watcher), waiting(watcher, OTHER), waiting(watcher, OTHER):
        _until(lambda: frozenset({JOB, OTHER}) in jobs.asked)
        jobs.known = {JOB: (2, JobState.FAILED), OTHER: (2, JobState.FAILED)}


def test_nobody_waits_nobody_asks(watcher: Watcher, jobs: Jobs) -> None:
    watcher.wait(JOB, timedelta(milliseconds=30))
    before = len(jobs.asked)

    assert not threading.Event().wait(0.1)

    assert len(jobs.asked) <= before + 1


def test_with_every_seat_taken_a_wait_returns_at_once(watcher: Watcher, jobs: Jobs) -> None:
    with waiting(watcher), waiting(watcher), waiting(watcher):
        _until(lambda: len(watcher._waiters) == 3)
        began = time.monotonic()

        watcher.wait(OTHER, LONG)

        assert time.monotonic() - began < SOON_S
        jobs.known[JOB] = (2, JobState.FAILED)


def test_a_database_that_is_away_for_a_while_ends_no_wait(watcher: Watcher, jobs: Jobs) -> None:
    jobs.failures = 1
    with waiting(watcher) as ended:
        assert jobs.looked.wait(SOON_S)
        assert not ended.is_set()
        jobs.known[JOB] = (2, JobState.SUCCEEDED)
        assert ended.wait(SOON_S)


def test_closing_ends_every_wait_and_lets_no_other_begin(watcher: Watcher, jobs: Jobs) -> None:
    with waiting(watcher) as ended:
        assert jobs.looked.wait(SOON_S)
        watcher.close()
        assert ended.wait(SOON_S)
    began = time.monotonic()
    watcher.wait(JOB, LONG)
    assert time.monotonic() - began < SOON_S


def _until(condition: object) -> None:
    deadline = time.monotonic() + SOON_S
    pause = threading.Event()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        pause.wait(0.005)


@pytest.fixture
def slow(jobs: Jobs) -> Iterator[Watcher]:
    found = Watcher(jobs, interval=LONG, seats=3)
    yield found
    found.close()


def test_a_short_job_is_looked_after_closely_however_long_the_interval(slow: Watcher, jobs: Jobs) -> None:
    with waiting(slow) as ended:
        assert jobs.looked.wait(SOON_S)
        jobs.known[JOB] = (2, JobState.SUCCEEDED)
        assert ended.wait(SOON_S)


def test_a_newcomer_does_not_wait_for_a_pause_that_an_older_wait_began(
    slow: Watcher, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.events._LATENESS", 1e9)
    with waiting(slow) as ended:
        assert jobs.looked.wait(SOON_S)
        # By now the watcher pauses for as long as it may: its one waiter has been there for a while.
        jobs.known = {JOB: (2, JobState.SUCCEEDED), OTHER: (2, JobState.SUCCEEDED)}
        slow.wait(OTHER, timedelta(seconds=SOON_S))
        assert ended.wait(SOON_S)
