"""`iconotext demo --once` shows real photos going through and ends by itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from client.demo.errands import errands
from client.stack.ports import listen
from shared.schemas import catalogue
from tests.e2e.conftest import Up

PHOTOS = Path(__file__).parents[2] / "client" / "demo" / "photos"


def demo(data_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "client", "demo", "--once", "--profile", "fake", *options],
        env={**os.environ, "ICONOTEXT_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        cwd=data_dir,
        timeout=100,
        check=False,
    )


def test_it_prints_every_job_and_ends_well(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        done = demo(tmp_path, "--port", str(taken.getsockname()[1]))

    assert done.returncode == 0, done.stdout + done.stderr
    todo = errands(PHOTOS)
    assert len(todo) >= 50
    for task in catalogue():
        expected = sum(errand.task == task for errand in todo)
        assert sum(f" {task} " in line for line in done.stdout.splitlines()) >= expected > 0
    assert f"{len(todo)} of {len(todo)} jobs succeeded" in done.stdout
    assert "iconotext/fake-joint (test)" in done.stdout


def test_its_report_shows_every_picture_that_was_made(tmp_path: Path) -> None:
    done = demo(tmp_path, "--port", "0", "--report", "pictures")

    assert done.returncode == 0, done.stdout + done.stderr
    html = (tmp_path / "pictures" / "index.html").read_text()
    shown = re.findall(r'src="([^"]+)"', html)
    assert all((tmp_path / "pictures" / name).stat().st_size > 0 for name in shown)
    made = [name for name in shown if name.startswith("job_")]
    for name in ("annotated", "heatmap", "overlay", "image", "contact_sheet"):
        assert any(f"-{name}." in one for one in made)


def test_it_runs_beside_another_that_stays_up(up: Up, tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(up.data_dir)

    assert demo(tmp_path, "--port", "0").returncode == 0
