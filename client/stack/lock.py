"""One stack per data folder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from client.errors import StackFailed


class DataDirLock:
    """Two file locks, which the system takes away from the dead.

    `up.owner` is the supervisor's alone. `up.lock` is the stack's: whoever inherits `fd` holds it on, so that
    a new stack waits for the last process of one that was killed.
    """

    def __init__(self, data_dir: Path, *, patience_s: float = 0.0) -> None:
        """Take the locks.

        Args:
            patience_s: how long to wait for the rest of a stack whose supervisor is gone.

        Raises:
            StackFailed: another stack uses the folder, or it cannot be made.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._owner = os.open(data_dir / "up.owner", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackFailed(f"cannot use {data_dir}: {error.strerror}; give another --data-dir") from error
        self.fd = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(self._owner):
            owner = os.pread(self._owner, 20, 0).decode(errors="replace")
            self.close()
            raise StackFailed(
                f"{data_dir} is in use by process {owner}; "
                "stop it, or give another --data-dir to run a second stack"
            )
        os.ftruncate(self._owner, 0)
        os.pwrite(self._owner, str(os.getpid()).encode(), 0)
        deadline = time.monotonic() + patience_s
        while not _lock(self.fd):
            if time.monotonic() >= deadline:
                self.close()
                raise StackFailed(
                    f"{data_dir} is in use by a former stack that is still stopping; try again soon"
                )
            time.sleep(0.1)

    def close(self) -> None:
        # No LOCK_UN: that would take the lock from those who inherited it.
        os.close(self.fd)
        os.close(self._owner)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
