"""Profiles are read strictly, without the model stack, and say which pool serves what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import BadConfiguration
from shared.manifests import Manifest, describe_profile, profiles, read_manifest

ENTRY = {"backend": "fake", "id": "a/b", "architecture": "none", "licence": "MIT", "grade": "test"}
TEXT = """
[models.TextEncoder]
backend = "fake"
id = "a/b"
architecture = "none"
licence = "MIT"
grade = "test"
"""


def manifest(**pools: str) -> Manifest:
    """Return a manifest of models in these pools, the last built over the one before it."""
    names = list(pools)
    models = {name: {**ENTRY, "pool": pool} for name, pool in pools.items()}
    return Manifest.model_validate(
        {"summary": "x", "models": {**models, "Over": {**ENTRY, "over": names[-1:]}}}
    )


def test_a_model_is_kept_in_the_default_pool_unless_it_says_otherwise() -> None:
    entry = manifest(A="default").models["Over"]

    assert (entry.pool, entry.residency) == ("default", "keep")


@pytest.mark.parametrize(
    ("needs", "pool"),
    [
        ([], "default"),
        (["Plain"], "default"),
        (["Plain", "Large"], "gpu-large"),
        (["Large", "Plain", "Large"], "gpu-large"),
        (["Over"], "gpu-large"),
        (["Unheard"], "default"),
    ],
)
def test_a_task_goes_to_the_pool_of_what_it_needs(needs: list[str], pool: str) -> None:
    assert manifest(Plain="default", Large="gpu-large").pool_of(needs) == pool


def test_a_task_cannot_run_in_two_pools() -> None:
    with pytest.raises(BadConfiguration, match=r"different pools, cpu, gpu-large; .* share a pool"):
        manifest(Small="cpu", Large="gpu-large").pool_of(["Small", "Large"])


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadConfiguration, match=r"no profile 'fulll'.*fake.*starter"):
        read_manifest("fulll")


@pytest.mark.parametrize("name", ["../manifests/fake", "", ".", "fake.toml"])
def test_a_profile_is_a_name_or_an_existing_file(name: str) -> None:
    with pytest.raises(BadConfiguration, match="no profile"):
        read_manifest(name)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("summary = ", "not TOML"),
        ('summary = "x"', "models"),
        ('summary = "x"\nmodels = {}\nextra = 1', "extra"),
        ('summary = "x"' + TEXT + 'over = ["ImageEncoder"]', "must stand before it"),
        ('summary = "x"' + TEXT + 'package = "numpy"', "package, file and sha256, or none"),
        ('summary = "x"' + TEXT + 'residency = "sometimes"', "residency"),
        ('summary = "x"' + TEXT + 'pool = ""', "pool"),
        ('summary = "x"' + TEXT.replace('"fake"', '"os.path"'), "backend"),
        ('summary = "x"' + TEXT.replace('"test"', '"superb"'), "grade"),
    ],
)
def test_a_manifest_that_makes_no_sense_says_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)

    with pytest.raises(BadConfiguration, match=fault):
        read_manifest(str(path))


def test_the_profiles_in_the_house_are_found() -> None:
    assert {"fake", "starter"} <= set(profiles())


@pytest.mark.parametrize("profile", profiles())
def test_a_profile_describes_itself_whole(profile: str) -> None:
    described = describe_profile(profile)

    assert described["profile"] == profile
    assert described["summary"]
    for entry in described["models"].values():
        assert {"id", "architecture", "licence", "grade", "pool", "residency"} <= set(entry)


def test_reading_a_profile_loads_no_model_stack() -> None:
    code = (
        "import sys; from shared.manifests import read_manifest; read_manifest('starter');"
        "print(sorted({'torch', 'transformers', 'numpy', 'worker'} & set(sys.modules)))"
    )

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert finished.stdout.strip() == "[]"
