"""A copy of the house to plant things in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder that holds the four packages and pyproject.toml, to be changed at will."""
    copy = tmp_path / "tree"
    for package in ("api", "client", "shared", "worker"):
        shutil.copytree(_ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / file, copy)
    return copy
