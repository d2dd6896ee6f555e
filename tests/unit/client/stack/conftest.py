"""Small real processes to supervise, and a guardian for them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from client.stack.guardian import Guardian
from client.stack.processes import Command

Eventually = Callable[[Callable[[], object]], None]


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    made = Guardian(grace_s=2.0)
    yield made
    made.close()


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Command]:
    """Return what makes the command that runs some Python."""

    def make(code: str, name: str = "thing", **more: object) -> Command:
        return Command(
            name=name,
            argv=(sys.executable, "-I", "-S", "-c", code),
            env=dict(os.environ),
            log=tmp_path / f"{name}.log",
            **more,  # type: ignore[arg-type]  # the caller names fields of Command
        )

    return make


@pytest.fixture
def eventually() -> Eventually:
    """Return what waits for a condition, ten seconds at most."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    return wait


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Return what tells whether a process has ended; one that nobody reaped has."""

    def check(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return check
