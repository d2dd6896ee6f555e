"""When the supervisor is gone, so is everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client.stack.guardian import Guardian
from client.stack.lock import DataDirLock
from client.stack.processes import Command, Process

Eventually = Callable[[Callable[[], object]], None]
Gone = Callable[[int], bool]
Make = Callable[..., Command]

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); " + SLEEP
)
#: A child that starts a child of its own, and says its number.
FAMILY = (
    "import subprocess, sys; "
    f"child = subprocess.Popen([sys.executable, '-I', '-S', '-c', {SLEEP!r}]); "
    "print(child.pid, flush=True); " + SLEEP
)

SUPERVISOR = """
import os, signal, sys, time
from pathlib import Path
from client.stack.guardian import Guardian
from client.stack.lock import DataDirLock
from client.stack.processes import Command, Process

# Under nohup it is ignored, and that is inherited.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
folder, codes = Path(sys.argv[1]), sys.argv[2:]
lock = DataDirLock(folder)
guardian = Guardian(grace_s=0.5, held=[lock.fd])
for number, code in enumerate(codes):
    argv = (sys.executable, "-I", "-S", "-c", code)
    log = folder / f"{number}.log"
    print(Process(Command(name=str(number), argv=argv, env=dict(os.environ), log=log), guardian).pid)
print(guardian.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def supervised(tmp_path: Path) -> Callable[..., tuple[subprocess.Popen[str], list[int]]]:
    """Return what runs a supervisor in a process of its own: it, its children's ids, the guardian's."""

    def start(*codes: str) -> tuple[subprocess.Popen[str], list[int]]:
        supervisor = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(tmp_path), *codes], stdout=subprocess.PIPE, text=True
        )
        assert supervisor.stdout is not None
        with supervisor.stdout as words:
            return supervisor, [int(words.readline()) for _ in range(len(codes) + 1)]

    return start


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_supervisor_that_is_killed_leaves_no_process(
    supervised: Callable[..., tuple[subprocess.Popen[str], list[int]]],
    tmp_path: Path,
    eventually: Eventually,
    gone: Gone,
    number: signal.Signals,
) -> None:
    supervisor, pids = supervised(SLEEP, STUBBORN, FAMILY)
    eventually(lambda: (tmp_path / "2.log").read_text().strip() and (tmp_path / "1.log").read_text())
    grandchild = int((tmp_path / "2.log").read_text())

    supervisor.send_signal(number)
    supervisor.wait(10)

    for pid in (*pids, grandchild):
        eventually(lambda pid=pid: gone(pid))  # type: ignore[misc]  # bound at once


def test_the_lock_is_held_until_the_last_process_has_ended(
    supervised: Callable[..., tuple[subprocess.Popen[str], list[int]]],
    tmp_path: Path,
    gone: Gone,
    eventually: Eventually,
) -> None:
    supervisor, pids = supervised(STUBBORN)
    eventually((tmp_path / "0.log").read_text)

    supervisor.kill()
    supervisor.wait(10)
    DataDirLock(tmp_path, patience_s=10).close()

    assert gone(pids[0])


def test_a_guardian_cannot_be_asked_to_go(guardian: Guardian, command: Make, eventually: Eventually) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guardian.pid, number)
    process = Process(command(SLEEP), guardian)

    assert not guardian.renew([])
    process.kill(10)


def test_a_guardian_that_was_killed_is_replaced_and_knows_all(
    command: Make, eventually: Eventually, tmp_path: Path
) -> None:
    guardian = Guardian(grace_s=0.5)
    process = Process(command("print('up', flush=True); " + SLEEP), guardian)
    eventually((tmp_path / "thing.log").read_text)
    os.kill(guardian.pid, signal.SIGKILL)

    eventually(lambda: guardian.renew([process.pid]))
    closing = threading.Thread(target=guardian.close)
    closing.start()

    eventually(lambda: process.ended() == -signal.SIGTERM)
    closing.join(10)


def test_closing_with_nothing_left_is_immediate(command: Make, eventually: Eventually) -> None:
    guardian = Guardian(grace_s=60)
    process = Process(command("pass"), guardian)
    eventually(lambda: process.ended() == 0)

    began = time.monotonic()
    guardian.close()
    assert time.monotonic() - began < 5
