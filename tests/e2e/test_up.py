"""`iconotext up`: starts, keeps running, refuses what it must, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from client.stack.ports import listen
from tests.e2e.conftest import Up, eventually, gone

Start = Callable[..., Up]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_told_and_leaves_nothing(start: Start, number: signal.Signals) -> None:
    up = start().wait_until_ready()
    everybody, port = up.everybody(), int(up.url.rpartition(":")[2])

    assert up.stop(number) == 0

    assert [pid for pid in everybody if not gone(pid)] == []
    assert up.record == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_killed_outright_it_leaves_nothing_either(start: Start) -> None:
    up = start("--workers", "2").wait_until_ready()
    everybody = up.everybody()
    assert len(everybody) >= 6  # itself, the guardian, valkey, the API twice, two workers

    up.process.kill()

    eventually(lambda: all(gone(pid) for pid in everybody), 40)


def test_the_data_of_a_killed_stack_is_there_for_the_next(start: Start, tmp_path: Path) -> None:
    first = start().wait_until_ready()
    with first.client() as client:
        job_id = client.submit("embed", texts=["red"]).id
        client.wait(job_id, 20)
    first.process.kill()

    second = start().wait_until_ready()

    with second.client() as client:
        assert client.get(job_id).succeeded


def test_a_second_one_on_the_same_data_is_refused(up: Up, start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(up.data_dir)
    second = start()

    assert second.process.wait(30) == 1

    assert f"in use by process {up.process.pid}" in second.output
    assert up.process.poll() is None


def test_a_taken_port_is_refused(start: Start) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        up = start("--port", str(port))
        assert up.process.wait(30) == 1

    assert f"port {port} on 127.0.0.1 is taken" in up.output


def test_other_machines_are_not_served_without_keys(start: Start) -> None:
    up = start("--host", "0.0.0.0", ICONOTEXT_REQUIRE_KEYS="false")  # noqa: S104  # what is refused

    assert up.process.wait(60) == 1

    assert "api died" in up.output
    assert "reachable from other machines" in up.output


def test_a_profile_that_is_not_there_ends_it_with_the_reason(start: Start) -> None:
    up = start("--profile", "nonesuch")

    assert up.process.wait(60) == 1

    assert "nonesuch" in up.output


@pytest.mark.parametrize("name", ["api", "worker-1", "valkey"])
def test_what_dies_is_started_again_and_said(up: Up, name: str) -> None:
    before = up.pid(name)

    os.kill(before, signal.SIGKILL)

    eventually(lambda: up.pid(name) not in (0, before))
    assert f"{name} died (signal SIGKILL); starting it again" in " ".join(up.output.split())
    with up.client() as client:
        # A caller that comes now waits a moment; it is not turned away.
        assert client.wait(client.submit("embed", texts=["red"]).id, 30).attempt == 1


def test_a_crash_loop_ends_it_with_the_log(start: Start) -> None:
    up = start().wait_until_ready()
    killed = {0}

    def kill_the_next() -> bool:
        if (pid := up.pid("worker-1") if up.record else 0) not in killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return up.process.poll() is not None

    eventually(kill_the_next, 60)

    assert up.process.returncode == 1
    assert "worker-1 died (signal SIGKILL) again and again; giving up" in " ".join(up.output.split())
    assert len(killed) == 1 + 5
