"""The service under faults, for a few minutes of every run of the tests; `make chaos` has the long ones."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Always the same faults at the same times, so that a run that fails can be run again.
_SEED = 5


def run(*words: str) -> None:
    """Run `python -m tests.chaos`, and fail with what it printed when a promise was broken."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seed", str(_SEED), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("database", "minutes"), [("postgresql", "2"), ("sqlite", "1")])
def test_no_job_is_lost_doubled_or_stuck_whatever_dies(database: str, minutes: str) -> None:
    run("--minutes", minutes, "--database", database)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("scene", "share"),
    [
        ("stops", "0.08"),
        ("poison", "0.01"),
        ("races", "0.06"),
        ("overload", "0.15"),
        ("rolling", "0.3"),
        ("duplicates", "0.1"),
    ],
)
def test_a_scene_in_small(scene: str, share: str) -> None:
    run(scene, "--share", share)


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("small")
def test_a_full_disk_is_said_and_survived() -> None:
    run("disks")
