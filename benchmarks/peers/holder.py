"""Runs one command and keeps every process that comes of it, so that all can be counted, and killed.

`python -m benchmarks.peers.holder COMMAND...` adopts what its descendants leave behind (a server's own
daemons leave their session and their parent) and kills everything when its input ends: when it is told to,
and when the benchmark itself has died. It ends with its command, too.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICK = os.sysconf("SC_CLK_TCK")
_GONE_WITHIN_S = 10.0


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    select.select([sys.stdin, os.pidfd_open(command.pid)], [], [])
    _kill_descendants()


def _kill_descendants() -> None:
    deadline = time.monotonic() + _GONE_WITHIN_S
    # Again until nobody is left: some were born meanwhile, and orphans arrive here.
    while (found := _below(os.getpid())) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _reap()
        time.sleep(0.02)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def cpu_s(ancestors: Sequence[int]) -> float:
    """Return the seconds of processor time that processes and their descendants have taken so far.

    What a process took that has ended counts with the one that has waited for it.
    """
    wanted = {pid for ancestor in ancestors for pid in (ancestor, *_below(ancestor))}
    # utime, stime, cutime, cstime: fields 14 to 17 of proc_pid_stat(5).
    return sum(sum(map(int, fields[11:15])) for pid, fields in _processes() if pid in wanted) / _TICK


def _below(ancestor: int) -> list[int]:
    """Return the living descendants of a process."""
    children: dict[int, list[int]] = {}
    for pid, fields in _processes():
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(pid)
    found: list[int] = []
    frontier = [ancestor]
    while frontier:
        frontier = [child for parent in frontier for child in children.get(parent, [])]
        found += frontier
    return found


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield every process with the fields of its /proc/PID/stat from the third, the state, on."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "stat").read_text()
            except OSError:
                continue
            yield int(folder.name), line.rpartition(")")[2].split()


if __name__ == "__main__":
    main()
