"""A finished outcome outlives a database that is away, and is written once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.errors import BlobsUnavailable, ImageCorrupt, LeaseLost, ModelOutOfMemory, StoreUnavailable
from shared.failpoints import NONE, parse
from shared.jobs import LOCAL, Claim, JobState
from tests.unit.worker.conftest import Kernel
from tests.unit.worker.test_reconciler import age
from tests.unit.worker.test_runner import DEADLINE_S, InThread, raising, wait_until
from worker.pipeline import Work, WorkerDraining
from worker.settling import Settler, Write


@pytest.fixture
def claim(kernel: Kernel) -> Claim:
    kernel.submit()
    return kernel.claim()


class Pauses:
    """The end of the process's time, which comes after so many pauses; they pass at once."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.seconds: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        self._left -= 1
        return self._left < 0


def settler_with(pauses: Pauses) -> Settler:
    settler = Settler(NONE)
    settler._given_up = pauses  # type: ignore[assignment]  # the one method that is called
    return settler


def answers(*outcomes: JobState | Exception) -> Write:
    """Return a write that does these, one after the other."""
    left: Iterator[JobState | Exception] = iter(outcomes)

    def write() -> JobState:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return write


AWAY = StoreUnavailable("the database does not answer")
LOST = LeaseLost("no longer this worker's")


def test_it_is_tried_again_until_the_database_is_back_at_growing_pauses(claim: Claim) -> None:
    pauses = Pauses(20)
    settler = settler_with(pauses)
    settler.settle(claim, answers(*[AWAY] * 20, JobState.SUCCEEDED))
    assert len(pauses.seconds) == 20
    assert 0.05 <= pauses.seconds[0] <= 0.15
    assert all(1.0 <= seconds <= 3.0 for seconds in pauses.seconds[6:])
    assert len({round(seconds, 6) for seconds in pauses.seconds[6:]}) > 1, "not all at the same moment"
    assert settler.as_json() == {"settled": {"default": 1}, "fenced": 0, "spooled": 1, "released": 0}


def test_it_is_given_up_when_the_process_has_no_time_left(claim: Claim) -> None:
    settler = Settler(NONE)
    settler.give_up()
    settler.settle(claim, answers(AWAY))
    assert settler.as_json()["settled"] == {}


def test_an_outcome_that_another_worker_forestalled_is_dropped_and_counted(claim: Claim) -> None:
    settler = settler_with(Pauses(9))
    settler.settle(claim, answers(LOST))
    assert settler.as_json() == {"settled": {}, "fenced": 1, "spooled": 0, "released": 0}


def test_a_fence_behind_an_unknown_outcome_may_be_our_own_and_is_not_counted(claim: Claim) -> None:
    settler = settler_with(Pauses(9))
    settler.settle(claim, answers(AWAY, LOST))
    assert settler.as_json() == {"settled": {}, "fenced": 0, "spooled": 1, "released": 0}


def test_what_the_outcome_itself_does_wrong_is_not_tried_again(claim: Claim) -> None:
    with pytest.raises(ZeroDivisionError):
        settler_with(Pauses(9)).settle(claim, answers(ZeroDivisionError()))


def test_a_job_whose_commit_went_unanswered_succeeds_once(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel.runner._settler, "_failpoints", parse("after_commit=raise"))
    job = kernel.run(input={"word": "once"})
    assert (job.state, job.attempt, job.result) == (JobState.SUCCEEDED, 1, {"word": "once"})
    assert kernel.runner.outcomes()["fenced"] == 0


def test_jobs_that_end_are_counted_by_pool(kernel: Kernel) -> None:
    kernel.run()
    kernel.run(raising(ImageCorrupt("cut off")))
    kernel.run(raising(ModelOutOfMemory("again")))
    assert kernel.runner.outcomes()["settled"] == {"default": 2}


def canceled(kernel: Kernel) -> Callable[..., object]:
    def act(work: Work, _task: object) -> None:
        [job] = kernel.store.list(LOCAL, states=[JobState.RUNNING])[0]
        kernel.store.cancel(LOCAL, job.id)
        while True:
            work.progress(0.5)

    return act


#: What the attempt does, and the job's state afterwards.
ENDINGS: dict[str, tuple[Callable[[Kernel], Callable[..., object]], JobState]] = {
    "succeed": (lambda _: lambda *_: None, JobState.SUCCEEDED),
    "fail": (lambda _: raising(ImageCorrupt("cut off")), JobState.FAILED),
    "requeue": (lambda _: raising(ModelOutOfMemory("it did not fit")), JobState.RUNNING),
    "release": (lambda _: raising(WorkerDraining("closing")), JobState.RUNNING),
    "confirm_canceled": (canceled, JobState.CANCELED),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_outcome_waits_for_the_database(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    attempt, state = ENDINGS[ending]
    write = getattr(kernel.store, ending)
    calls: list[object] = []

    def flaky(*words: Any) -> JobState:
        calls.append(words)
        if len(calls) <= 2:
            raise AWAY
        kernel.runner.stop()  # what is given back is not to be claimed again
        settled: JobState = write(*words)
        return settled

    monkeypatch.setattr(kernel.store, ending, flaky)
    job = kernel.run(attempt(kernel))
    assert (len(calls), job.state, job.attempt) == (3, state, 1)
    assert kernel.store.heartbeat(kernel.runner._worker, {job.id: 1}, {}).lost == {job.id}, "nobody holds it"


def test_a_slot_stays_taken_while_its_outcome_waits_and_closing_gives_it_up(
    kernel: Kernel, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def away(*_: object) -> JobState:
        tried.set()
        raise AWAY

    monkeypatch.setattr(kernel.store, "succeed", away)
    monkeypatch.setattr("worker.runner._STOPPED_WITHIN", timedelta(milliseconds=50))
    job = kernel.submit()
    thread = in_thread(kernel.runner.drain)
    assert tried.wait(DEADLINE_S)
    assert not kernel.runner._is_idle_within(timedelta(0))
    before = time.monotonic()
    kernel.runner.close(timedelta(0))
    thread.join(DEADLINE_S)
    assert time.monotonic() - before < DEADLINE_S / 2
    assert kernel.job(job).state is JobState.RUNNING, "its lease ends, another attempt follows"


def test_a_lease_that_ran_out_takes_no_outcome_away_while_nobody_took_the_job(
    kernel: Kernel, in_thread: InThread
) -> None:
    computed, go_on = threading.Event(), threading.Event()

    def act(_work: Work, _task: object) -> None:
        computed.set()
        assert go_on.wait(DEADLINE_S)

    job = kernel.submit(act)
    thread = in_thread(kernel.runner.drain)
    assert computed.wait(DEADLINE_S)
    kernel.heartbeat.close()
    age(kernel.store._database, timedelta(minutes=5))
    go_on.set()
    thread.join(DEADLINE_S)
    assert kernel.job(job).state is JobState.SUCCEEDED


@pytest.mark.parametrize("error", [BlobsUnavailable("the disk is gone"), AWAY])
def test_what_the_service_lacks_uses_up_no_attempt(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("worker.runner._backoff", lambda _attempt: timedelta(0))
    failures = iter([error] * 7)

    def act(_work: Work, _task: object) -> None:
        for failure in failures:
            raise failure

    job = kernel.run(act)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 8), "of three attempts, none was used up"
    assert kernel.runner.outcomes()["released"] == 7


def test_a_job_that_waits_for_the_service_does_not_come_back_at_once(kernel: Kernel) -> None:
    job = kernel.run(raising(BlobsUnavailable("the disk is full")))
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    assert kernel.runner.drain() == 0
    wait_until(lambda: kernel.runner.drain() == 1)
    assert kernel.job(job).attempt == 2
