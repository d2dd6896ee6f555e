"""What importing brings along, and that it does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Alembic runs this one inside a migration; it is no module to import.
RUN_BY_ALEMBIC = "shared.migrations.env"
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("api", "client", "shared", "worker")
    for file in (ROOT / package).rglob("*.py")
)


def run(*command: str) -> str:
    finished = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def acts(folder: Path, *modules: str) -> list[dict[str, str]]:
    script = Path(__file__).with_name("watched_import.py")
    found: list[dict[str, str]] = json.loads(run(str(script), str(folder), *modules))
    return found


@pytest.mark.parametrize(
    ("module", "left_out"),
    [
        ("api.app", ["PIL", "numpy", "torch", "torchvision", "transformers", "worker"]),
        ("client.__main__", ["PIL", "api", "celery", "flask", "numpy", "sqlalchemy", "torch", "worker"]),
        ("worker.app", ["api", "client", "flask", "gunicorn", "werkzeug"]),
        ("worker.media", ["celery", "flask", "sqlalchemy", "torch", "torchvision", "transformers"]),
        ("shared.schemas", ["PIL", "api", "celery", "flask", "numpy", "sqlalchemy", "torch", "worker"]),
    ],
)
def test_importing_leaves_out(module: str, left_out: list[str]) -> None:
    loaded = json.loads(run("-c", f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"))

    assert set(left_out) & set(loaded) == set()


def test_nothing_happens_on_import() -> None:
    modules = [module for module in MODULES if module != RUN_BY_ALEMBIC]

    assert acts(ROOT, *modules) == []


@pytest.mark.parametrize(
    ("statement", "act"),
    [
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("import threading; threading.Thread(target=int).start()", "thread"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-c', ''])", "subprocess.Popen"),
        ("import sqlite3; sqlite3.connect(':memory:').close()", "sqlite3.connect"),
        ("import os; os.getenv('ICONOTEXT_PROFILE')", "environment ICONOTEXT_PROFILE"),
        ("import os; 'ICONOTEXT_PROFILE' in os.environ", "environment ICONOTEXT_PROFILE"),
        ("import os; dict(os.environ)", "environment"),
        ("from shared.settings import SharedSettings; SharedSettings()", "environment"),
        ("from pathlib import Path; Path(__file__).with_name('made').write_text('')", "open for writing"),
    ],
)
def test_an_act_on_import_is_caught(statement: str, act: str, tree: Path) -> None:
    planted = tree / "shared" / "jobs.py"
    planted.write_text(f"{planted.read_text()}\n{statement}\n")
    last_line = len(planted.read_text().splitlines())

    found = acts(tree, "shared.jobs")

    assert found
    assert found[0]["act"].startswith(act)
    assert found[0]["where"] == f"shared/jobs.py:{last_line}"
