"""The processes of a run: started, kept running, hurt, and all ended with the run."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from client.stack.guardian import Guardian
from client.stack.processes import Command, Process

_LOOK_S = 0.02
_KILLED_WITHIN_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """A process that ended."""

    #: On `time.time()`, in seconds.
    at: float
    name: str
    pid: int
    #: Negative for a signal.
    status: int


class Program:
    """One of them, again and again."""

    def __init__(self, name: str, command: Command) -> None:
        self.name = name
        self.command = command
        self.process: Process | None = None
        #: Whether the keeper starts it again.
        self.wanted = True

    @property
    def pid(self) -> int:
        """Return its id; 0 while it has none."""
        process = self.process
        return 0 if process is None else process.pid

    @property
    def age_s(self) -> float:
        """Return how long it has lived; 0 while it does not."""
        process = self.process
        return 0.0 if process is None else time.monotonic() - process.started

    def everybody(self) -> list[psutil.Process]:
        """Return its process and those below it; nobody while it has none."""
        if not (pid := self.pid):
            return []
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]

    def send(self, number: signal.Signals) -> None:
        """Signal its whole group; nothing happens while it is gone."""
        if (process := self.process) is not None:
            process.send(number)


class Stage:
    """Keeps programs running in one thread, which alone starts and buries them."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.programs: dict[str, Program] = {}
        self.deaths: list[Death] = []
        self._guardian = Guardian(grace_s=2.0)
        self._errands: list[tuple[Callable[[], None], threading.Event]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._thread.start()

    def add(self, name: str, command: Command) -> Program:
        """Start a program and keep it running."""
        program = Program(name, command)
        self._do(lambda: self._begin(program))
        return program

    def command(
        self, name: str, argv: tuple[str, ...], env: Mapping[str, str], fds: tuple[int, ...] = ()
    ) -> Command:
        """Return how a Python program is started; its log goes on through all its lives."""
        environment = {**os.environ, **env, "PYTHONUNBUFFERED": "1"}
        return Command(
            name=name,
            argv=(sys.executable, *argv),
            env=environment,
            log=self.logs / f"{name}.log",
            fds=fds,
        )

    def replace(self, program: Program, command: Command) -> None:
        """Have its next life begin with another command."""
        program.command = command

    def restart(self, program: Program, seconds: float = 20.0) -> None:
        """Ask its present life to end in order, and return when the next one has begun."""
        before = program.process
        program.send(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while program.process is before and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        if program.process is before:
            raise TimeoutError(f"{program.name} did not end within {seconds:g} s of SIGTERM")

    def retire(self, program: Program) -> None:
        """Ask a program to end in order, for good."""
        program.wanted = False
        program.send(signal.SIGTERM)

    def close(self) -> None:
        """Kill everything."""
        self._closing.set()
        self._thread.join(timeout=30.0)
        self._guardian.close()

    def _begin(self, program: Program) -> None:
        program.process = Process(program.command, self._guardian)
        self.programs[program.name] = program

    def _do(self, errand: Callable[[], None]) -> None:
        """Have the keeper do something, and wait for it: its processes have one owner."""
        done = threading.Event()
        with self._lock:
            self._errands.append((errand, done))
        if not done.wait(30.0):
            raise TimeoutError("the keeper of the processes is gone")

    def _keep(self) -> None:
        while not self._closing.wait(_LOOK_S):
            with self._lock:
                errands, self._errands = self._errands, []
            for errand, done in errands:
                errand()
                done.set()
            for program in list(self.programs.values()):
                self._tend(program)
        for program in self.programs.values():
            if program.process is not None:
                program.process.send(signal.SIGCONT)
                program.process.kill(_KILLED_WITHIN_S)

    def _tend(self, program: Program) -> None:
        process = program.process
        if process is None or (status := process.ended()) is None:
            return
        self.deaths.append(Death(at=time.time(), name=program.name, pid=process.pid, status=status))
        program.process = None
        if program.wanted:
            program.process = Process(program.command, self._guardian)
        else:
            del self.programs[program.name]
