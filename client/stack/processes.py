"""One process of the stack, and what keeps it running."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.stack.guardian import Guardian

#: A process that lived shorter than this before it died never did its work.
QUICK_S = 10.0
#: Quick deaths in a row that make a crash loop.
MOST_QUICK_DEATHS = 5
#: Pauses before the starts that follow the first, second, ... quick death.
_PAUSES_S = (0.0, 0.5, 1.0, 2.0)


#: A process that ends so asks for another in its place: its memory has passed its mark.
RECYCLED = os.EX_TEMPFAIL


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """How a process is started."""

    #: `worker-1`: for people, and for its log file.
    name: str
    argv: tuple[str, ...]
    #: The whole environment.
    env: Mapping[str, str] = field(repr=False)
    log: Path
    #: Descriptors that it inherits.
    fds: tuple[int, ...] = ()


class Process:
    """A running process in a group of its own, which ends as a whole."""

    def __init__(self, command: Command, guardian: Guardian) -> None:
        self.command = command
        self._guardian = guardian
        self._status: int | None = None
        with command.log.open("ab") as log:
            self._popen = subprocess.Popen(
                guardian.guarded(command.argv),
                env=dict(command.env),
                pass_fds=(guardian.pipe, *command.fds),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        """Return its id, which is its group's as well."""
        return self._popen.pid

    def ended(self) -> int | None:
        """Return its exit status, negative for a signal; None while it runs.

        What it left running in its group is killed with it.
        """
        if self._status is None and _is_dead(self._popen):
            # Before it is reaped: until then nobody else can get its number.
            self.send(signal.SIGKILL)
            self._guardian.forget(self.pid)
            self._status = self._popen.wait()
        return self._status

    def send(self, number: signal.Signals) -> None:
        """Signal the whole group; nothing happens when it is gone."""
        if self._status is None:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                return

    def kill(self, patience_s: float) -> None:
        """Kill the whole group and wait until that is done."""
        self.send(signal.SIGKILL)
        deadline = time.monotonic() + patience_s
        while self.ended() is None and time.monotonic() < deadline:
            time.sleep(0.01)


def _is_dead(popen: subprocess.Popen[bytes]) -> bool:
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return popen.poll() is not None
    try:
        return os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended though nobody had asked it to."""

    name: str
    status: int
    #: Seconds until it is started again; None: it has died too often.
    pause_s: float | None

    @property
    def is_wanted(self) -> bool:
        """Tell whether it ended to make room for another, as it should."""
        return self.status == RECYCLED

    def __str__(self) -> str:
        if self.is_wanted:
            return f"{self.name} ended to give its memory back"
        cause = f"signal {signal.Signals(-self.status).name}" if self.status < 0 else f"status {self.status}"
        return f"{self.name} died ({cause})"


class Service:
    """Keeps one command running."""

    def __init__(
        self,
        command: Command,
        guardian: Guardian,
        *,
        quick_s: float = QUICK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.command = command
        self._guardian = guardian
        self._quick_s = quick_s
        self._clock = clock
        self._quick_deaths = 0
        self._due: float | None = None
        self._began = 0.0
        self.process: Process | None = None

    @property
    def name(self) -> str:
        return self.command.name

    def start(self) -> None:
        self._due = None
        self._began = self._clock()
        self.process = Process(self.command, self._guardian)

    def tend(self) -> Death | None:
        """Start it again when that is due; return its death when it has died since the last look."""
        if self._due is not None and self._clock() >= self._due:
            self.start()
        if self.process is None:
            return None
        status = self.process.ended()
        if status is None:
            return None
        self.process = None
        pause_s = 0.0 if status == RECYCLED else self._pause(self._clock() - self._began)
        death = Death(self.name, status, pause_s)
        self._due = None if death.pause_s is None else self._clock() + death.pause_s
        return death

    def is_running(self) -> bool:
        return self.process is not None and self.process.ended() is None

    def send(self, number: signal.Signals) -> None:
        """Signal it, and do not start it again."""
        self._due = None
        if self.process is not None:
            self.process.send(number)

    def _pause(self, lived_s: float) -> float | None:
        self._quick_deaths = self._quick_deaths + 1 if lived_s < self._quick_s else 0
        if self._quick_deaths >= MOST_QUICK_DEATHS:
            return None
        return _PAUSES_S[min(max(self._quick_deaths - 1, 0), len(_PAUSES_S) - 1)]


def fresh_log(path: Path) -> Path:
    """Return the path for a new log; the log of the run before is kept beside it as `.old`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(path.with_suffix(path.suffix + ".old"))
    return path


def tail(path: Path, lines: int = 20) -> str:
    """Return the last lines of a log; nothing when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16_384))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
