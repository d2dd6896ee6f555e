"""A worker that died on this machine is missed at once; one of which nothing is certain is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psutil
import pytest

from shared.jobs import JobState, Json, WorkerId
from tests.unit.worker.conftest import LEASE, Kernel
from tests.unit.worker.test_runner import wait_until
from worker import neighbours
from worker.neighbours import KEY, Neighbours, Process, has_ended, this_process

DEAD = WorkerId("neighbour")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that waits; nobody buries it before the test does."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def started(pid: int) -> int:
    return neighbours._started(neighbours._stat(str(pid)))


def process_of(child: subprocess.Popen[bytes]) -> Process:
    own = this_process()
    assert own is not None
    return replace(own, pid=child.pid, started=started(child.pid))


def kill_unburied(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)


def announced(kernel: Kernel, info: Json) -> Neighbours:
    """Return the eyes of a worker whose only neighbour says this of itself, and holds the job that waited."""
    kernel.store.announce(DEAD, info)
    kernel.claim(DEAD)
    return Neighbours(kernel.store, WorkerId("survivor"), seen_within=LEASE)


def test_a_killed_neighbours_job_is_claimable_at_once_and_runs_alone(
    kernel: Kernel, child: subprocess.Popen[bytes]
) -> None:
    job = kernel.submit()
    looking = announced(kernel, {KEY: process_of(child).as_json()})
    assert kernel.store.lead("reconciler", DEAD, timedelta(hours=1))
    kill_unburied(child)
    looking.round()
    assert kernel.store.workers(seen_within=LEASE) == []
    assert kernel.store.lead("reconciler", WorkerId("survivor"), timedelta(hours=1)), "what it led as well"
    again = kernel.claim("survivor")
    assert (again.id, again.attempt, again.alone) == (job.id, 2, True)


def test_a_living_neighbour_keeps_its_jobs(kernel: Kernel, child: subprocess.Popen[bytes]) -> None:
    job = kernel.submit()
    announced(kernel, {KEY: process_of(child).as_json()}).round()
    assert not kernel.store.has_suspects(["default"])
    assert [worker for worker, _ in kernel.store.workers(seen_within=LEASE)] == [DEAD]
    assert kernel.job(job).state is JobState.RUNNING


@pytest.mark.parametrize(
    "changes",
    [
        {"boot": "another machine"},
        {"pid_space": 1},
        {"host": "another container"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_neighbour_that_lives_elsewhere_is_left_to_its_leases(
    kernel: Kernel, child: subprocess.Popen[bytes], changes: dict[str, str]
) -> None:
    kernel.submit()
    process = process_of(child).as_json() | changes
    kill_unburied(child)
    announced(kernel, {KEY: process}).round()
    assert not kernel.store.has_suspects(["default"])


@pytest.mark.parametrize("process", [None, {}, {"pid": 1}, "7", {"pid": "x", "started": None}])
def test_a_neighbour_that_says_nothing_of_itself_is_left_to_its_leases(
    kernel: Kernel, process: object
) -> None:
    kernel.submit()
    announced(kernel, {KEY: process} if process is not None else {}).round()
    assert not kernel.store.has_suspects(["default"])


def test_a_worker_that_cannot_tell_processes_apart_says_nothing(
    kernel: Kernel, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.submit()
    process = process_of(child).as_json()
    kill_unburied(child)
    monkeypatch.setattr(neighbours, "_PROC", neighbours._PROC / "nowhere")
    announced(kernel, {KEY: process}).round()
    assert this_process() is None
    assert not kernel.store.has_suspects(["default"])


def test_a_process_lives_until_it_has_ended(child: subprocess.Popen[bytes]) -> None:
    since = started(child.pid)
    assert not has_ended(child.pid, since)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    assert not has_ended(child.pid, since), "a stopped process may go on"
    kill_unburied(child)
    assert has_ended(child.pid, since), "nobody has buried it, and it does nothing any more"
    child.wait()
    assert has_ended(child.pid, since)


def test_another_process_with_the_number_of_a_dead_one_is_not_it() -> None:
    own = this_process()
    assert own is not None
    assert not has_ended(own.pid, own.started)
    assert has_ended(own.pid, own.started - 1)


def test_a_process_that_cannot_be_looked_at_may_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_somebody_else(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", of_somebody_else)
    monkeypatch.setattr(neighbours, "_PROC", neighbours._PROC / "nowhere")
    assert not has_ended(1, 1)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**70])
def test_a_number_that_no_process_has_is_not_a_riddle(pid: int) -> None:
    assert has_ended(pid, 1) is (pid < 2**31)
