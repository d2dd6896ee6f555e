"""What this machine computes on, found without the model stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

from client.errors import StackFailed

#: Asking a driver that loads itself takes seconds; a broken one never answers.
_DRIVER_S = 20.0
_WANTED = re.compile(r"auto|cpu|cuda(:\d+)?")


def devices(wanted: str | None, workers: int | None, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the device of each worker; `auto` leaves the choice to the worker.

    Args:
        wanted: `auto`, `cpu`, `cuda:1`; None: as ICONOTEXT_DEVICE says.
        workers: how many; None: one for each CUDA device, and one where there is none.

    Raises:
        StackFailed: there is no such device.
    """
    if wanted is not None and not _WANTED.fullmatch(wanted):
        raise StackFailed(f"--device is auto, cpu or cuda:N, not {wanted!r}")
    wanted = wanted or env.get("ICONOTEXT_DEVICE") or "auto"
    # One worker finds the first device by itself.
    found = cuda_devices(env) if wanted == "auto" and workers != 1 else 0
    if found < 2:
        return (wanted,) * (workers or 1)
    return tuple(f"cuda:{number % found}" for number in range(workers or found))


def cuda_devices(env: Mapping[str, str]) -> int:
    """Return how many CUDA devices a process with this environment sees."""
    present = _present(env)
    if (visible := env.get("CUDA_VISIBLE_DEVICES")) is None:
        return present or 0
    # As CUDA does: what follows an entry that is none is hidden.
    return len(list(takewhile(lambda name: _exists(name.strip(), present), visible.split(","))))


def _exists(name: str, present: int | None) -> bool:
    """Tell whether an entry may name a device; one by its UUID always may."""
    if name.isdecimal():
        return present is None or int(name) < present
    return bool(name) and not name.startswith("-")


def _present(env: Mapping[str, str]) -> int | None:
    """Return how many GPUs the driver knows; None when it cannot be asked."""
    program = shutil.which("nvidia-smi", path=env.get("PATH"))
    if program is None:
        return None
    try:
        listed = subprocess.run(
            [program, "-L"], env=dict(env), capture_output=True, text=True, timeout=_DRIVER_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        # The program without its driver, as in many container images.
        return 0
    return len(re.findall(r"^GPU \d+:", listed.stdout, re.MULTILINE))


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many cores this process may use; a container's share counts, rounded down to at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, period = quota.read_text().split()
        return min(count, max(1, int(most) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or `max`
        return count
