"""The pictures in Pillow's own source distribution: over a thousand, many made to crash, hang or explode.

pip fetches the distribution of the version that is installed, into its own cache; ICONOTEXT_PILLOW_SDIST
names one that is here already.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import pytest

_FOLDER = "Tests/images"
_FETCH_S = 100.0


def unpacked(folder: Path) -> list[Path]:
    """Return every file of `Tests/images`, put into a folder; skips the test where it cannot be had."""
    with tarfile.open(_distribution(folder)) as archive:
        members = [member for member in archive if member.isfile() and _FOLDER in member.name]
        archive.extractall(folder, members, filter="data")
    return sorted(folder / member.name for member in members)


def name_of(picture: Path) -> str:
    """Return its path inside `Tests/images`."""
    return PurePosixPath(picture).as_posix().rpartition(f"{_FOLDER}/")[2]


def _distribution(folder: Path) -> Path:
    if given := os.environ.get("ICONOTEXT_PILLOW_SDIST"):
        return Path(given)
    fetch = ["download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
    what = ["--no-binary", "pillow", f"pillow=={version('pillow')}", "--dest", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *fetch, *what],
        capture_output=True,
        text=True,
        timeout=_FETCH_S,
        check=False,
    )
    if done.returncode != 0:
        _missing(done.stderr.strip().rpartition("\n")[2])
    return next(folder.glob("*.tar.gz"))


def _missing(reason: str) -> None:
    words = f"Pillow's source distribution cannot be fetched ({reason}); ICONOTEXT_PILLOW_SDIST may name it"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)
