"""What this process may use of its machine: a container's share, not the whole host."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_ROOT = Path("/")


def cores(root: Path = _ROOT, environment: Mapping[str, str] = os.environ) -> int:
    """Return how many cores this process really has, at least 1.

    The least of: the cores it may run on, the quota of its control groups (version 2, a part of a core counts
    as one), and OMP_NUM_THREADS.

    Args:
        root: where `proc` and `sys` are.
        environment: where OMP_NUM_THREADS is.
    """
    counts = [_affinity(), *_quotas(root)]
    threads = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if threads.isdecimal() and int(threads) > 0:
        counts.append(int(threads))
    return max(1, min(counts))


def memory_limit_bytes(root: Path = _ROOT) -> int | None:
    """Return the memory past which this process's container is killed; None: nothing limits it."""
    return min(_memory_limits(root), default=None)


def memory_bytes(root: Path = _ROOT) -> int:
    """Return the memory that this process may use: its container's, or else the host's."""
    return memory_limit_bytes(root) or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[int]:
    """Yield the cores that each control group around this process grants; nothing for one without a limit."""
    for group in _groups(root):
        try:
            quota, period = (group / "cpu.max").read_text().split()
            if quota != "max":
                yield max(1, math.ceil(int(quota) / int(period)))
        except (OSError, ValueError, ZeroDivisionError):
            continue


def _groups(root: Path) -> list[Path]:
    """Return the folder of this process's control group, and of each one around it."""
    top = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    name = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if name is None:
        return []
    group = top / name
    return [group, *(parent for parent in group.parents if parent.is_relative_to(top))]


def _memory_limits(root: Path) -> Iterator[int]:
    for group in _groups(root):
        try:
            limit = (group / "memory.max").read_text().strip()
            if limit != "max":
                yield int(limit)
        except (OSError, ValueError):
            continue
