"""The heartbeat keeps what it holds, and stops what must not go on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared.errors import JobTimeout, LeaseLost, StoreUnavailable
from shared.jobs import JobId, JobState, WorkerId
from shared.store import Heartbeat as StoreHeartbeat
from shared.store import JobStore
from tests.unit.worker.conftest import Kernel
from tests.unit.worker.test_runner import wait_until
from worker.heartbeat import Heartbeat, Held
from worker.pipeline import Work, WorkerDraining

DEADLINE_S = 20.0


def stopped_with(held: Held) -> Exception:
    """Wait until the job is stopped, for as long as a test may run, and return why."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever the reason is, the test names it
        held.ticket.wait_until(lambda: False)
    return caught.value


def beating(store: JobStore, *, lease: timedelta, **changes: object) -> Heartbeat:
    options: dict[str, object] = {
        "lease": lease,
        "interval": lease / 3,
        "stuck_after": timedelta(minutes=1),
        "device_progress": time.monotonic,
        "announce": lambda: None,
    }
    return Heartbeat(store, WorkerId("worker"), **(options | changes))  # type: ignore[arg-type]  # named above


def test_a_held_job_outlives_many_leases(kernel: Kernel) -> None:
    store = JobStore(kernel.store._database, lease=timedelta(seconds=1), max_attempts=3)
    heartbeat = beating(store, lease=timedelta(seconds=1))
    heartbeat.start()
    kernel.submit()
    (claim,) = store.claim(WorkerId("worker"), ["default"])
    pause = threading.Event()
    with heartbeat.hold(claim) as held:
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            assert store.expire_leases() == 0
            pause.wait(0.1)
        assert not held.ticket.stopped
    heartbeat.close()


def test_a_job_that_another_worker_took_over_is_stopped(kernel: Kernel) -> None:
    kernel.submit()
    stale = kernel.claim()
    kernel.store.release(stale)
    kernel.claim("another worker")
    with kernel.heartbeat.hold(stale) as held:
        assert isinstance(stopped_with(held), LeaseLost)


def test_a_job_past_its_timeout_is_stopped(kernel: Kernel) -> None:
    kernel.submit(timeout=timedelta(milliseconds=10))
    with kernel.heartbeat.hold(kernel.claim()) as held:
        reason = stopped_with(held)
    assert isinstance(reason, JobTimeout)
    assert "0.01 s" in reason.message


class Unreachable:
    """A store whose database went away."""

    def heartbeat(self, *_: object) -> object:
        raise StoreUnavailable("the database does not answer")


def test_a_worker_that_cannot_renew_stops_its_jobs_before_the_lease_ends(kernel: Kernel) -> None:
    kernel.submit()
    claim = kernel.claim()
    lease = timedelta(seconds=1.5)
    heartbeat = beating(Unreachable(), lease=lease)  # type: ignore[arg-type]  # the one method that is called
    heartbeat.start()
    beginning = time.monotonic()
    with heartbeat.hold(claim) as held:
        reason = stopped_with(held)
    heartbeat.close()
    assert isinstance(reason, LeaseLost)
    assert time.monotonic() - beginning < 2 * lease.total_seconds()


class Faltering:
    """A store whose database is away for a while."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked = threading.Semaphore(0)

    def heartbeat(self, *_: object) -> StoreHeartbeat:
        self.asked.release()
        if self.is_away:
            raise StoreUnavailable("the database does not answer")
        return StoreHeartbeat(lost=frozenset(), canceling=frozenset())


def test_after_an_outage_every_worker_is_heard_before_any_lease_may_be_ended(kernel: Kernel) -> None:
    store, said = Faltering(), threading.Semaphore(0)
    heartbeat = beating(store, lease=timedelta(seconds=1.2), announce=said.release)  # type: ignore[arg-type]
    kernel.submit()
    heartbeat.start()
    with heartbeat.hold(kernel.claim()):
        assert not heartbeat.is_steady(), "at first it knows nothing"
        wait_until(heartbeat.is_steady)
        store.is_away = True
        wait_until(lambda: not heartbeat.is_steady())
        for _ in range(4):
            assert store.asked.acquire(timeout=DEADLINE_S)
        store.is_away = False
        back = time.monotonic()
        wait_until(heartbeat.is_steady)
        assert time.monotonic() - back > 0.4, "a whole beat of the others"
    heartbeat.close()


class Frozen:
    """A store whose database was stopped: whoever asks it waits, until the test ends."""

    def __init__(self) -> None:
        self.thawed = threading.Event()

    def heartbeat(self, *_: object) -> object:
        self.thawed.wait(DEADLINE_S)
        raise StoreUnavailable("the database does not answer")


@pytest.fixture
def frozen() -> Iterator[Frozen]:
    store = Frozen()
    yield store
    store.thawed.set()


def test_a_worker_whose_database_freezes_stops_its_jobs_before_the_lease_ends(
    kernel: Kernel, frozen: Frozen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.heartbeat._LAST_STATEMENT_S", 0.01)
    kernel.submit()
    claim = kernel.claim()
    lease = timedelta(seconds=1.5)
    heartbeat = beating(frozen, lease=lease)  # type: ignore[arg-type]  # the one method that is called
    heartbeat.start()
    beginning = time.monotonic()
    with heartbeat.hold(claim) as held:
        reason = stopped_with(held)
        assert time.monotonic() - beginning < lease.total_seconds()
        heartbeat.close()
    assert isinstance(reason, LeaseLost)
    assert held.is_cut_off, "the job is blameless"


def test_a_job_of_a_frozen_database_times_out_in_time(kernel: Kernel, frozen: Frozen) -> None:
    kernel.submit(timeout=timedelta(milliseconds=10))
    claim = kernel.claim()
    heartbeat = beating(frozen, lease=timedelta(seconds=30), interval=timedelta(milliseconds=20))  # type: ignore[arg-type]
    heartbeat.start()
    with heartbeat.hold(claim) as held:
        assert isinstance(stopped_with(held), JobTimeout)
    frozen.thawed.set()
    heartbeat.close()


def test_a_worker_that_was_itself_stopped_asks_before_it_gives_up(kernel: Kernel) -> None:
    asked = threading.Event()

    class Answering:
        """A store that says that all is well; the watch looks while it is being asked."""

        def heartbeat(self, _worker: object, held: dict[JobId, int], _progress: object) -> StoreHeartbeat:
            heartbeat._fence(heartbeat._snapshot(), time.monotonic())
            asked.set()
            return StoreHeartbeat(lost=frozenset(), canceling=frozenset())

    kernel.submit()
    claim = kernel.claim()
    heartbeat = beating(Answering(), lease=timedelta(seconds=6))  # type: ignore[arg-type]
    with heartbeat.hold(claim) as held:
        heartbeat._renewed -= 60  # a minute of which it knows nothing
        heartbeat.start()
        assert asked.wait(DEADLINE_S)
        heartbeat.close()
        assert not held.ticket.stopped


def test_a_job_whose_worker_was_cut_off_is_given_back_with_all_its_attempts(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runner._backoff", lambda _attempt: timedelta(0))
    cut_off = iter([True])

    def act(work: Work, _task: object) -> None:
        while next(cut_off, False):
            [held] = kernel.heartbeat._snapshot()
            held.is_cut_off = True
            held.ticket.stop(LeaseLost("this worker could not renew its lease"))
        work.progress(0.5)

    job = kernel.run(act)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert kernel.runner.outcomes()["released"] == 1


def test_a_device_that_gives_no_sign_of_life_ends_the_process(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    statuses: list[int] = []

    def leave(status: int) -> None:
        statuses.append(status)
        ended.set()

    monkeypatch.setattr("worker.heartbeat.os._exit", leave)
    kernel.silent["since"] = time.monotonic() - 3600
    assert ended.wait(DEADLINE_S)
    kernel.silent.clear()
    assert statuses[0] != 0
    assert "Thread" in capfd.readouterr().err, "the stacks are dumped"


@pytest.mark.parametrize(("moves_on", "ends"), [(False, True), (True, False)])
def test_a_model_call_that_outlasts_its_jobs_time_by_far_ends_the_process(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, *, moves_on: bool, ends: bool
) -> None:
    ended, said = threading.Event(), threading.Semaphore(0)
    monkeypatch.setattr("worker.heartbeat.os._exit", lambda _status: ended.set())
    since = time.monotonic()
    kernel.submit(timeout=timedelta(milliseconds=10))
    heartbeat = beating(
        kernel.store,
        announce=said.release,
        lease=timedelta(seconds=0.3),
        device_progress=lambda: time.monotonic() if moves_on else since,
        on_device=lambda _ticket: True,
        grace=timedelta(milliseconds=100),
    )
    heartbeat.start()
    with heartbeat.hold(kernel.claim()) as held:
        assert isinstance(stopped_with(held), JobTimeout)
    assert all(said.acquire(timeout=DEADLINE_S) for _ in range(8)) or ends
    assert ended.wait(DEADLINE_S if ends else 0) is ends
    heartbeat.close()


def test_a_worker_says_that_it_lives_with_every_beat(kernel: Kernel) -> None:
    said = threading.Semaphore(0)
    heartbeat = beating(kernel.store, lease=timedelta(seconds=0.3), announce=said.release)
    heartbeat.start()
    assert all(said.acquire(timeout=DEADLINE_S) for _ in range(3))
    heartbeat.close()


def test_a_job_that_is_held_after_the_end_was_called_is_stopped_too(kernel: Kernel) -> None:
    for _ in range(2):
        kernel.submit()
    with kernel.heartbeat.hold(kernel.claim()) as before:
        kernel.heartbeat.stop_all(WorkerDraining("closing"))
        with kernel.heartbeat.hold(kernel.claim()) as after:
            assert [type(stopped_with(held)) for held in (before, after)] == [WorkerDraining] * 2


def test_a_process_that_native_code_holds_ends_itself() -> None:
    # In a process of its own: nothing in it runs any more once the interpreter's lock is taken for good.
    done = subprocess.run(
        [sys.executable, "-c", _HOLDS], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode != 0
    assert "Timeout" in done.stderr, "the stacks are dumped"


_HOLDS = """
import ctypes, time
from datetime import timedelta
from types import SimpleNamespace
from worker.heartbeat import Heartbeat
times = {"lease": 30, "interval": 1, "stuck_after": 2}
lengths = {name: timedelta(seconds=length) for name, length in times.items()}
beat = Heartbeat(
    SimpleNamespace(), "worker", device_progress=time.monotonic, announce=lambda: None, **lengths
)
beat.start()
ctypes.PyDLL(None).sleep(60)
"""
