"""The walls of pyproject.toml stand, and each stops what it is there to stop."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}

#: (contract, file, statement); the file `attic.py` is a new room that no layer names.
BREACHES = [
    ("house", "api/errors.py", "from worker import settings"),
    ("house", "worker/runner.py", "import api.errors"),
    ("house", "shared/jobs.py", "import worker.settings"),
    ("house", "shared/store/__init__.py", "from api.settings import ApiSettings"),
    ("client-alone", "client/sdk.py", "import api.settings"),
    ("client-alone", "client/sdk.py", "import worker.settings"),
    ("shared-layers", "shared/errors.py", "import shared.settings"),
    ("shared-layers", "shared/schemas/base.py", "import shared.store"),
    ("shared-layers", "shared/attic.py", ""),
    ("worker-layers", "worker/settings.py", "import worker.runner"),
    ("worker-layers", "worker/models/capabilities.py", "import worker.engine"),
    ("worker-layers", "worker/attic.py", ""),
    ("api-layers", "api/settings.py", "import api.errors"),
    ("api-layers", "api/errors.py", "import api.app"),
    ("api-layers", "api/attic.py", ""),
    ("light", "api/errors.py", "import torch"),
    ("light", "api/errors.py", "def late():\n    import transformers"),
    ("light", "shared/jobs.py", "import numpy"),
    ("light", "client/sdk.py", "from PIL import Image"),
    ("worker-headless", "worker/runner.py", "import flask"),
    ("worker-headless", "shared/store/__init__.py", "from werkzeug import exceptions"),
    ("one-sql-home", "api/errors.py", "import sqlalchemy"),
    ("one-sql-home", "worker/runner.py", "from sqlalchemy import text"),
    ("one-sql-home", "shared/jobs.py", "import sqlalchemy"),
    ("torch-behind-models", "worker/runner.py", "import torch"),
    ("torch-behind-models", "worker/tasks/classify.py", "import torchvision"),
    ("media-children-stay-small", "worker/media/__init__.py", "import celery"),
    ("media-children-stay-small", "worker/media/__init__.py", "import torch"),
    ("tasks-independent", "worker/tasks/classify.py", "import worker.tasks.embed"),
    ("schemas-independent", "shared/schemas/classify.py", "from shared.schemas.embed import EmbedInput"),
]


def lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", *options]
    # Wide enough that no contract's name is wrapped.
    environment = {**os.environ, "COLUMNS": "300"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_every_wall_stands() -> None:
    finished = lint(ROOT)

    assert finished.returncode == 0, finished.stdout


def test_every_wall_is_tried() -> None:
    assert {contract for contract, _, _ in BREACHES} == set(CONTRACTS)


@pytest.mark.parametrize(("contract", "file", "statement"), BREACHES)
def test_a_breach_is_caught(contract: str, file: str, statement: str, tree: Path) -> None:
    planted = tree / file
    assert planted.exists() == (planted.name != "attic.py")
    with planted.open("a") as source:
        source.write(f"\n{statement}\n")

    finished = lint(tree, "--contract", contract)

    assert finished.returncode == 1
    assert f"{CONTRACTS[contract]} BROKEN" in finished.stdout
