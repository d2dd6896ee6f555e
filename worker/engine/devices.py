"""Which device this process uses, and how much of its memory."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from shared.errors import BadConfiguration
from worker.machine import memory_bytes


def choose_device(wanted: str) -> str:
    """Return the device to load models on: `cpu` or `cuda:<index>`.

    Args:
        wanted: `auto` takes the first CUDA device, or else the CPU.

    Raises:
        BadConfiguration: the wanted device is not on this machine.
    """
    count = _gpus()
    if wanted == "auto":
        return "cuda:0" if count else "cpu"
    if wanted == "cuda":
        wanted = "cuda:0"
    if wanted == "cpu" or wanted in {f"cuda:{index}" for index in range(count)}:
        return wanted
    have = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
    raise BadConfiguration(
        f"ICONOTEXT_DEVICE={wanted}: there is no such device here; this machine has {have}"
    )


def _gpus() -> int:
    """Return how many CUDA devices there are; where there is no driver, torch need not be loaded to tell."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    import torch  # noqa: PLC0415  # seconds, and half a gigabyte that a worker on a CPU can do without

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def resident_bytes(device: str) -> int:
    """Return the memory that this process holds on a device: allocated by torch, or on the CPU resident."""
    if device == "cpu":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import torch  # noqa: PLC0415  # as above

    return int(torch.cuda.memory_allocated(device))


def model_budget_bytes(device: str) -> int:
    """Return the memory that models may take on a device where the operator names none.

    Nine tenths of a GPU: contexts and fragments need some. Two thirds of what this process may use of the
    host: pictures, results and the interpreter live there too.
    """
    if device == "cpu":
        return memory_bytes() * 2 // 3
    import torch  # noqa: PLC0415  # as above

    return int(torch.cuda.get_device_properties(device).total_memory) * 9 // 10
