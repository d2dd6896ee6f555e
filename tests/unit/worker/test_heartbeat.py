"""The heartbeat keeps what it holds, and stops what must not go on."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from shared.errors import JobTimeout, LeaseLost, StoreUnavailable
from shared.jobs import WorkerId
from shared.store import JobStore
from tests.unit.worker.conftest import Kernel
from worker.heartbeat import Heartbeat, Held
from worker.pipeline import WorkerDraining

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
