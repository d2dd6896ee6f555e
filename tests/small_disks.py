"""Disks so small that a test can fill them: file systems in memory, which only root may mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount one of this size (`4m`) in an empty folder.

    Raises:
        PermissionError: this user may not.
    """
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        raise PermissionError("needs a user who may mount a file system")
    try:
        yield folder
    finally:
        # Lazily: a process that was killed may not have let go of its last file yet.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607  # wherever it is


def fill(disk: Path) -> Path:
    """Write until there is no byte left, and return the file whose removal makes room again."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as written:
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while written.write(b"\0" * size) == size:
                    pass
    return ballast
