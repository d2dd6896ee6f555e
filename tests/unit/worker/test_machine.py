"""A process knows its share of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.machine import cores, memory_bytes, memory_limit_bytes


@pytest.fixture
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


def machine(root: Path, **limits: str) -> Path:
    """Return a root whose process lives in the control group `pod/main`, with these `cpu.max`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/pod/main\n")
    (root / "sys/fs/cgroup/pod/main").mkdir(parents=True)
    for group, limit in limits.items():
        (root / "sys/fs/cgroup" / group.replace("_", "/") / "cpu.max").write_text(f"{limit}\n")
    return root


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(
    ("limits", "threads", "expected"),
    [
        ({}, "", 16),
        ({"pod_main": "max 100000"}, "", 16),
        ({"pod_main": "400000 100000"}, "", 4),
        ({"pod_main": "150000 100000"}, "", 2),
        ({"pod_main": "50000 100000"}, "", 1),
        ({"pod_main": "max 100000", "pod": "300000 100000"}, "", 3),
        ({"pod_main": "400000 100000", "pod": "max 100000"}, "2", 2),
        ({"pod_main": "400000 100000"}, "8", 4),
        ({"pod_main": "nonsense"}, "5,2", 5),
        ({}, "many", 16),
    ],
)
def test_the_cores_are_the_least_that_anybody_grants(
    tmp_path: Path, limits: dict[str, str], threads: str, expected: int
) -> None:
    assert cores(machine(tmp_path, **limits), {"OMP_NUM_THREADS": threads}) == expected


@pytest.mark.usefixtures("sixteen_cores")
def test_without_control_groups_the_cores_are_those_it_may_run_on(tmp_path: Path) -> None:
    assert cores(tmp_path, {}) == 16


def test_this_machine_has_cores() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"pod/main": "max"}, None),
        ({"pod/main": "1000", "pod": "max"}, 1000),
        ({"pod/main": "max", "pod": "3000"}, 3000),
        ({"pod/main": "2000", "pod": "3000"}, 2000),
        ({"pod/main": "nonsense"}, None),
    ],
)
def test_the_memory_is_the_least_that_any_group_grants(
    tmp_path: Path, limits: dict[str, str], expected: int | None
) -> None:
    root = machine(tmp_path)
    for group, limit in limits.items():
        (root / "sys/fs/cgroup" / group / "memory.max").write_text(f"{limit}\n")

    assert memory_limit_bytes(root) == expected


def test_without_a_container_the_memory_is_the_hosts(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
