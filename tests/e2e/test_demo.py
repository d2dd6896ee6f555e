"""`iconotext demo --once` shows real photos going through and ends by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from client.stack.ports import listen
from tests.e2e.conftest import Up


def demo(data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "client", "demo", "--once", "--profile", "fake", *options],
        env={**os.environ, "ICONOTEXT_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_it_prints_every_job_and_ends_well(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        done = demo(tmp_path, "--port", str(taken.getsockname()[1]))

    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if ".jpg" in line]
    assert len(rows) >= 12
    for task in ("embed", "match", "classify"):
        assert sum(f" {task} " in row for row in rows) >= 6
    assert f"{len(rows)} of {len(rows)} jobs succeeded" in done.stdout
    assert "iconotext/fake-joint (test)" in done.stdout


def test_it_runs_beside_another_that_stays_up(up: Up, tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(up.data_dir)

    assert demo(tmp_path, "--port", "0").returncode == 0
