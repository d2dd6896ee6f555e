"""The peers' environments: `python -m benchmarks.peers.venvs` makes those that are missing or out of date.

Each holds exactly what its file in `requirements/` pins, from wherever pip is configured to look.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_VENVS = _HERE / ".venvs"
_REQUIREMENTS = _HERE / "requirements"
_STAMP = ".installed"


def names() -> list[str]:
    """Return the environments that there are requirements for."""
    return sorted(path.stem for path in _REQUIREMENTS.glob("*.txt"))


def python_of(name: str) -> Path:
    """Return an environment's interpreter; `bin` beside it holds the peer's own commands."""
    return _VENVS / name / "bin" / "python"


def is_made(name: str) -> bool:
    """Tell whether the environment holds what its requirements pin now."""
    stamp = _VENVS / name / _STAMP
    return stamp.exists() and stamp.read_text() == _fingerprint(name)


def make(name: str) -> None:
    """Make the environment anew.

    Raises:
        subprocess.CalledProcessError: pip could not install it; its `output` says why.
    """
    folder = _VENVS / name
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(folder))
    pip = (str(python_of(name)), "-m", "pip", "install", "--quiet", "--no-input", "--progress-bar", "off")
    _run(*pip, "--requirement", str(_REQUIREMENTS / f"{name}.txt"))
    (folder / _STAMP).write_text(_fingerprint(name))


def pinned(name: str, package: str) -> str:
    """Return the version of a package that an environment's requirements pin."""
    lines = (_REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    return pins[package]


def _fingerprint(name: str) -> str:
    content = (_REQUIREMENTS / f"{name}.txt").read_bytes() + sys.version.encode()
    return hashlib.sha256(content).hexdigest()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main() -> int:
    failed = 0
    for name in names():
        if is_made(name):
            print(f"{name}: there")  # noqa: T201
            continue
        try:
            make(name)
            print(f"{name}: made")  # noqa: T201
        except subprocess.CalledProcessError as error:
            failed += 1
            shutil.rmtree(_VENVS / name, ignore_errors=True)
            print(f"{name}: cannot be installed here\n{error.output[-2000:]}", file=sys.stderr)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
