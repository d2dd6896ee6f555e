"""Leave no process behind, even when the supervisor is killed outright.

The guardian is a process in a session of its own that reads a pipe. While the supervisor lives, it reads
which process groups exist: `+7` has begun, `-7` has ended. When the supervisor is gone, however it went,
the pipe ends; then the guardian ends every group that is left, first kindly.

Run as `python -I -S guardian.py FD GRACE`, so it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

#: How long killed processes may take to vanish.
_BURIAL_S = 5.0


class Guardian:
    """The supervisor's end of it. Not thread-safe."""

    def __init__(self, *, grace_s: float, held: Sequence[int] = ()) -> None:
        """Start one.

        Args:
            grace_s: seconds between asking the groups to end and killing them.
            held: descriptors that stay open until everything has ended, a lock for instance.
        """
        self._grace_s = grace_s
        self._held = tuple(held)
        self._start()

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        script = [sys.executable, "-I", "-S", __file__, str(reading), str(self._grace_s)]
        self._process = subprocess.Popen(
            script,
            pass_fds=(reading, *self._held),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reading)
        if self._process.stdout is not None:
            with self._process.stdout as armed:
                armed.read()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pipe(self) -> int:
        """Return the descriptor that a guarded process must inherit."""
        return self._pipe

    def guarded(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` under guard; start it in a new session, with `pipe`."""
        return [
            sys.executable,
            "-I",
            "-S",
            str(Path(__file__).with_name("launch.py")),
            str(self.pipe),
            *command,
        ]

    def forget(self, group: int) -> None:
        """Say that a group has ended, before its number can mean another."""
        self._tell(f"-{group}\n")

    def renew(self, groups: Collection[int]) -> bool:
        """Replace a guardian that was itself killed; `groups` is what it must know. Tell whether it was."""
        if self._process.poll() is None:
            return False
        os.close(self._pipe)
        self._start()
        self._tell("".join(f"+{group}\n" for group in groups))
        return True

    def close(self) -> None:
        """Let it end what is left, and wait for that."""
        pipe, self._pipe = self._pipe, -1
        os.close(pipe)
        self._process.wait()

    def _tell(self, words: str) -> None:
        try:
            os.write(self._pipe, words.encode())
        except OSError:
            return  # it is dead, and `renew` tells its successor all; or closed, and nothing matters


def watch(pipe: int) -> set[int]:
    """Return the groups that are left when the pipe ends."""
    groups: set[int] = set()
    rest = b""
    while chunk := os.read(pipe, 65_536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            group = int(line[1:])
            if line.startswith(b"+"):
                groups.add(group)
            else:
                groups.discard(group)
    return groups


def end(groups: Collection[int], grace_s: float) -> None:
    """End every group: asked first, killed after the grace."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _BURIAL_S)):
        left = [group for group in groups if _signal(group, number)]
        deadline = time.monotonic() + patience_s
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = [group for group in left if _signal(group, 0)]
        if not left:
            return


def _signal(group: int, number: int) -> bool:
    """Tell whether the group still existed to take the signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Guard until the pipe ends, then end the rest."""
    # Only the pipe's end, or SIGKILL, ends a guardian.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.close(1)  # armed: the supervisor waits for the end of this
    pipe, grace_s = sys.argv[1:]
    end(watch(int(pipe)), float(grace_s))


if __name__ == "__main__":
    main()
