"""A process that dies is started again, unless it dies too often; its group never outlives it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from client.stack.guardian import Guardian
from client.stack.processes import (
    MOST_QUICK_DEATHS,
    Command,
    Death,
    Process,
    Service,
    fresh_log,
    tail,
)

Eventually = Callable[[Callable[[], object]], None]
Gone = Callable[[int], bool]
Make = Callable[..., Command]

SLEEP = "import time; time.sleep(600)"


def deaths_of(service: Service, eventually: Eventually, count: int) -> list[Death]:
    deaths: list[Death] = []

    def look() -> bool:
        if (death := service.tend()) is not None:
            deaths.append(death)
        return len(deaths) >= count

    eventually(look)
    return deaths


def test_a_process_runs_in_a_group_of_its_own_and_logs(
    guardian: Guardian, command: Make, eventually: Eventually, tmp_path: Path
) -> None:
    code = "import os, sys; print(os.getpid(), os.getpgid(0), os.getsid(0), flush=True); sys.exit('oh no')"
    process = Process(command(code), guardian)

    eventually(lambda: process.ended() == 1)

    assert tail(tmp_path / "thing.log").split() == [str(process.pid)] * 3 + ["oh", "no"]


def test_a_process_inherits_nothing_it_was_not_given(
    guardian: Guardian, command: Make, eventually: Eventually, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    process = Process(command("import os; print(os.listdir('/proc/self/fd'))", fds=(reading,)), guardian)

    eventually(lambda: process.ended() == 0)
    os.close(reading)
    os.close(writing)

    # Its three, the one given, and the one that lists.
    assert len(tail(tmp_path / "thing.log").split()) == 5


def test_what_a_dead_process_leaves_in_its_group_is_killed(
    guardian: Guardian, command: Make, eventually: Eventually, gone: Gone, tmp_path: Path
) -> None:
    child = f"subprocess.Popen([sys.executable, '-I', '-S', '-c', {SLEEP!r}])"
    process = Process(command(f"import subprocess, sys; print({child}.pid)"), guardian)

    eventually(lambda: process.ended() == 0)

    eventually(lambda: gone(int(tail(tmp_path / "thing.log"))))


def test_a_command_that_is_not_there_says_so(
    guardian: Guardian, tmp_path: Path, eventually: Eventually
) -> None:
    missing = Command(name="thing", argv=("/no/such/program",), env={}, log=tmp_path / "thing.log")
    process = Process(missing, guardian)

    eventually(lambda: process.ended() == 1)

    assert tail(missing.log) == "cannot run /no/such/program: No such file or directory"


def test_a_child_that_dies_is_started_again(
    guardian: Guardian, command: Make, eventually: Eventually
) -> None:
    service = Service(command(SLEEP), guardian)
    service.start()
    assert service.process is not None
    first = service.process

    first.send(signal.SIGKILL)
    [death] = deaths_of(service, eventually, 1)

    assert str(death) == "thing died (signal SIGKILL)"
    eventually(lambda: service.tend() is None and service.is_running())
    assert service.process.pid != first.pid
    service.process.kill(10)


def test_a_crash_loop_ends(
    guardian: Guardian, command: Make, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.stack.processes._PAUSES_S", (0.0, 0.01))
    service = Service(command("import sys; sys.exit(3)"), guardian)
    service.start()

    deaths = deaths_of(service, eventually, MOST_QUICK_DEATHS)

    assert [death.pause_s for death in deaths] == [0.0, 0.01, 0.01, 0.01, None]
    assert {death.status for death in deaths} == {3}
    assert service.tend() is None
    assert not service.is_running()


def test_a_process_that_did_its_work_may_die_any_number_of_times(
    guardian: Guardian, command: Make, eventually: Eventually
) -> None:
    service = Service(command("pass"), guardian, quick_s=0.0)
    service.start()

    deaths = deaths_of(service, eventually, MOST_QUICK_DEATHS + 2)

    assert {death.pause_s for death in deaths} == {0.0}
    eventually(lambda: not service.is_running())


def test_a_process_that_recycles_itself_has_not_crashed(
    guardian: Guardian, command: Make, eventually: Eventually
) -> None:
    service = Service(command("import sys; sys.exit(75)"), guardian)
    service.start()

    deaths = deaths_of(service, eventually, MOST_QUICK_DEATHS + 1)

    assert {death.pause_s for death in deaths} == {0.0}
    assert {str(death) for death in deaths} == {"thing ended to give its memory back"}
    assert all(death.is_wanted for death in deaths)
    service.send(signal.SIGKILL)
    eventually(lambda: not service.is_running())


def test_a_service_that_is_being_stopped_is_not_started_again(
    guardian: Guardian, command: Make, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.stack.processes._PAUSES_S", (0.1,))
    service = Service(command("pass"), guardian)
    service.start()
    deaths_of(service, eventually, 1)

    service.send(signal.SIGTERM)

    assert service.tend() is None
    assert service.process is None


def test_the_log_of_the_run_before_is_kept_once(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "api.log"
    for words in ("first", "second"):
        fresh_log(log).write_text(words)

    assert log.read_text() == "second"
    assert log.with_name("api.log.old").read_text() == "first"


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_text("\n".join(str(number) for number in range(10_000)))

    assert tail(log, 2) == "9998\n9999"
    assert tail(tmp_path / "none.log") == ""
