"""What is accepted is done, whoever dies meanwhile."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from client import Client
from tests.e2e.conftest import LEASE_S, Up, eventually


def test_a_job_whose_worker_is_killed_is_done_at_the_second_attempt(up: Up, client: Client) -> None:
    job = client.submit("embed", texts=["fake:sleep=1 red"])
    eventually(lambda: client.get(job.id).status == "running")

    os.kill(up.pid("worker-1"), signal.SIGKILL)
    killed = time.monotonic()
    done = client.wait(job.id, 3 * LEASE_S)

    assert done.attempt == 2
    assert time.monotonic() - killed < 2 * LEASE_S


def test_the_queue_may_forget_everything(up: Up, client: Client) -> None:
    blocker = client.submit("embed", texts=["fake:sleep=8 red"])
    jobs = [client.submit("embed", texts=[f"red {number}"]).id for number in range(200)]
    waiting = sum(client.get(job_id).status == "queued" for job_id in jobs)

    up.valkey().flushall()

    assert waiting > 100
    for job_id in [blocker.id, *jobs]:
        assert client.wait(job_id, 60).attempt == 1


@pytest.mark.parametrize("fault", ["stopped", "killed"])
def test_submits_are_accepted_without_the_queue(up: Up, client: Client, fault: str) -> None:
    client.wait(client.submit("embed", texts=["red"]).id, 20)  # all is well before
    pid = up.pid("valkey")
    os.kill(pid, signal.SIGSTOP if fault == "stopped" else signal.SIGKILL)
    try:
        began = time.monotonic()
        job = client.submit("embed", texts=["blue"])
        spent = time.monotonic() - began
    finally:
        if fault == "stopped":
            os.kill(pid, signal.SIGCONT)

    assert spent < 5
    assert client.wait(job.id, 30).succeeded
    eventually(lambda: client.health().checks["queue"] == "ok", 30)


def test_an_idle_worker_finds_jobs_while_the_queue_stands_still(up: Up, client: Client) -> None:
    pid = up.pid("valkey")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert client.wait(client.submit("embed", texts=["green"]).id, 30).succeeded
    finally:
        os.kill(pid, signal.SIGCONT)


def holder(up: Up, job_id: str) -> int:
    """Return the id of the process that holds a job."""
    with closing(sqlite3.connect(up.data_dir / "iconotext.db", timeout=20)) as database:
        [(worker,)] = database.execute("SELECT worker FROM jobs WHERE id = ?", (job_id,)).fetchall()
    return int(worker.split(":")[1])


def test_a_worker_killed_beside_another_is_missed_long_before_its_lease_ends(
    start: Callable[..., Up],
) -> None:
    up = start("--workers", "2", ICONOTEXT_LEASE="30", ICONOTEXT_RECONCILE="60").wait_until_ready()
    with up.client() as client:
        job = client.submit("embed", texts=["fake:sleep=1 red"])
        eventually(lambda: client.get(job.id).status == "running")

        os.kill(holder(up, job.id), signal.SIGKILL)
        killed = time.monotonic()

        eventually(lambda: client.get(job.id).attempt == 2, 10)
        assert time.monotonic() - killed < 3
        assert client.wait(job.id, 20).succeeded


def stop_between_writes(up: Up, pid: int) -> None:
    """Stop a worker that has not the turn to write: nobody else can write a SQLite file then."""

    def stopped() -> bool:
        os.kill(pid, signal.SIGSTOP)
        with (up.data_dir / "iconotext.db-turn").open() as turn:
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.kill(pid, signal.SIGCONT)
                return False
            return True

    eventually(stopped)


def test_a_stopped_worker_keeps_its_jobs_as_long_as_its_lease_lasts(start: Callable[..., Up]) -> None:
    up = start("--workers", "2", ICONOTEXT_LEASE="30").wait_until_ready()
    with up.client() as client:
        job = client.submit("embed", texts=["fake:sleep=1 red"])
        eventually(lambda: client.get(job.id).status == "running")

        pid = holder(up, job.id)
        stop_between_writes(up, pid)
        try:
            # Its neighbour looks every second.
            other = [client.submit("embed", texts=[f"fake:sleep=1 {number}"]).id for number in range(4)]
            assert all(client.wait(one, 20).succeeded for one in other)
            assert client.get(job.id).attempt == 1
        finally:
            os.kill(pid, signal.SIGCONT)
        assert client.wait(job.id, 20).attempt == 1
