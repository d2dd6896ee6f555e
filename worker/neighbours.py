"""Workers of the same machine: one that died is missed at once, not when its leases end."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from shared.jobs import Json, WorkerId
from shared.store import JobStore

#: Of a worker's announced `info`.
KEY = "process"

_PROC = Path("/proc")
#: States of `/proc/PID/stat` in which a process has ended.
_ENDED = frozenset("ZXx")

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """A process as every other one that sees it can tell it from all there were and will be."""

    host: str
    #: Of the machine, since it was last switched on.
    boot: str
    #: The namespace in which `pid` is its number.
    pid_space: int
    pid: int
    #: When it began, in clock ticks since the machine did.
    started: int

    def as_json(self) -> Json:
        return asdict(self)


class Neighbours:
    """Has the jobs of workers that died on this machine taken from them.

    Time alone tells that of a worker elsewhere; here the operating system knows. Only what is certain counts:
    a worker that is stopped (SIGSTOP), or of which nothing can be learnt, is left to its leases.
    """

    def __init__(self, store: JobStore, worker: WorkerId, *, seen_within: timedelta) -> None:
        """Take the store and this process's own name.

        Args:
            seen_within: a worker that was last seen longer ago holds no lease any more.
        """
        self._store = store
        self._worker = worker
        self._seen_within = seen_within
        self._own = this_process()

    def round(self) -> None:
        """Look once."""
        if self._own is None:
            return
        dead = [
            worker
            for worker, info in self._store.workers(seen_within=self._seen_within)
            if worker != self._worker and self._is_dead(info.get(KEY))
        ]
        if not dead:
            return
        count = self._store.expire_leases_of(dead)
        log.warning("neighbours died, their jobs go to others", workers=dead, count=count)
        # Afterwards: whoever dies in between leaves them to be found again.
        for worker in dead:
            self._store.withdraw(worker)

    def _is_dead(self, announced: object) -> bool:
        other = _process_of(announced)
        own = self._own
        if other is None or own is None:
            return False
        if (other.host, other.boot, other.pid_space) != (own.host, own.boot, own.pid_space):
            return False
        return has_ended(other.pid, other.started)


def this_process() -> Process | None:
    """Return what this process is, or None where the operating system does not tell."""
    try:
        return Process(
            host=socket.gethostname(),
            boot=(_PROC / "sys/kernel/random/boot_id").read_text().strip(),
            pid_space=os.stat(_PROC / "self/ns/pid").st_ino,  # noqa: PTH116  # follows the link, as Path.stat does
            pid=os.getpid(),
            started=_started(_stat("self")),
        )
    except (OSError, ValueError, IndexError):
        return None


def has_ended(pid: int, started: int) -> bool:
    """Return whether the process of this number that began then is certainly no more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        # Somebody else's, or no number of a process at all.
        pass
    try:
        fields = _stat(str(pid))
        # Of one that nobody has buried yet, the first thread may have ended before the others.
        if fields[0] in _ENDED:
            return len(os.listdir(_PROC / str(pid) / "task")) <= 1  # noqa: PTH208  # names alone
        return _started(fields) != started
    except (OSError, ValueError, IndexError):
        return False


def _stat(pid: str) -> list[str]:
    """Return the fields of `/proc/PID/stat` from the third on, the state."""
    # The second one, the program's name in brackets, may hold blanks and brackets itself.
    return (_PROC / pid / "stat").read_text().rpartition(")")[2].split()


def _started(fields: list[str]) -> int:
    # The 22nd of all, proc_pid_stat(5).
    return int(fields[19])


def _process_of(announced: object) -> Process | None:
    """Return the process that another worker, maybe of another release, announced."""
    if not isinstance(announced, Mapping):
        return None
    try:
        return Process(
            host=str(announced["host"]),
            boot=str(announced["boot"]),
            pid_space=int(announced["pid_space"]),
            pid=int(announced["pid"]),
            started=int(announced["started"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
