"""Processes take turns at a file: one at a time, none passed over, and the dead hold nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.turns import Turns

DEADLINE_S = 20.0


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def turns(database: Path) -> Iterator[Turns]:
    made = Turns(database)
    yield made
    made.close()


def later(seconds: float = DEADLINE_S) -> float:
    return time.monotonic() + seconds


def test_a_turn_comes_at_once_when_nobody_writes(turns: Turns) -> None:
    with turns.take(later(0)) as first:
        assert first
    with turns.take(later(0)) as second:
        assert second


def test_who_waits_in_vain_is_told_and_harms_nobody(turns: Turns, database: Path) -> None:
    other = Turns(database)
    with turns.take(later()) as mine:
        with other.take(later(0.01)) as theirs:
            assert (mine, theirs) == (True, False)
        with other.take(later(0.01)) as still:
            assert not still, "a wait in vain must not take the turn away from its holder"
    with other.take(later(0)) as after:
        assert after
    other.close()


def test_who_writes_again_and_again_does_not_pass_who_waits(turns: Turns, database: Path) -> None:
    other = Turns(database)
    waited, done = threading.Event(), threading.Event()
    rounds_after = 0

    def wait() -> None:
        waited.set()
        with other.take(later()) as came:
            assert came
            done.set()

    waiter = threading.Thread(target=wait)
    with turns.take(later()):
        waiter.start()
        assert waited.wait(DEADLINE_S)
        # Until it is the next: then nobody else can be.
        pause = threading.Event()
        for _ in range(2000):
            if _is_taken(database, "-next"):
                break
            pause.wait(0.005)
    while not done.is_set():
        with turns.take(later()):
            rounds_after += 1
    waiter.join(DEADLINE_S)
    other.close()
    assert rounds_after <= 2


def _is_taken(database: Path, suffix: str) -> bool:
    import fcntl

    with database.with_name(database.name + suffix).open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_killed_writer_gives_its_turn_up(turns: Turns, database: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from shared.turns import Turns\n"
        "with Turns(Path(sys.argv[1])).take(time.monotonic() + 20):\n"
        "    print('mine', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(database)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"
        with turns.take(later(0.01)) as while_it_lives:
            assert not while_it_lives
        holder.kill()
        holder.wait(DEADLINE_S)
        with turns.take(later()) as afterwards:
            assert afterwards


def test_no_turn_comes_once_closed_and_whoever_has_one_may_end(turns: Turns) -> None:
    with turns.take(later()):
        turns.close()
    with turns.take(later(0)) as came:
        assert not came
    turns.close()
