"""`python -m worker.models` tells how each model of a profile stands on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from shared.manifests import read_manifest
from worker.models.states import describe

MANIFEST = """
extends = "fake"

[models.TextEncoder]
folder = "texts"
dtype = "float16"
memory_bytes = 1_000

[models.TextEncoder.files]
"model.safetensors" = "0000000000000000000000000000000000000000000000000000000000000000"

[models.ImageEncoder]
folder = "none"
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    save_file({"weight": np.ones(3, dtype=np.float32)}, tmp_path / "texts" / "model.safetensors")
    path = tmp_path / "own.toml"
    path.write_text(MANIFEST)
    return path


def states(manifest: Path, *, verified: bool) -> dict[str, Any]:
    described = describe(read_manifest("fake", manifest), manifest.parent / "cache", verified=verified)
    return {model["capability"]: model for model in described["models"]}


def test_unread_a_model_is_ready_or_missing(manifest: Path) -> None:
    found = states(manifest, verified=False)

    assert {name: model["state"] for name, model in found.items() if model["state"] != "ready"} == {
        "ImageEncoder": "missing", "JointEncoder": "missing",
    }  # fmt: skip
    assert found["ImageEncoder"]["reason"] == f"folder {manifest.parent}/none is not there"


def test_read_it_may_turn_out_to_be_wrong(manifest: Path) -> None:
    found = states(manifest, verified=True)["TextEncoder"]

    assert found["state"] == "wrong"
    assert "model.safetensors has sha256" in found["reason"]


def test_what_is_built_over_a_wrong_one_is_wrong_as_well(manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace('"none"', '"texts"'))

    found = states(manifest, verified=True)["JointEncoder"]

    assert (found["state"], found["reason"]) == ("wrong", "it is built over TextEncoder, which is wrong")


def test_the_revision_of_a_folder_is_the_hash_that_results_name(manifest: Path) -> None:
    found = states(manifest, verified=False)["TextEncoder"]

    assert found["revision"].startswith("sha256:")
    assert (found["source"], found["dtype"], found["memory_bytes"]) == (
        f"folder {manifest.parent}/texts", "float16", 1_000,
    )  # fmt: skip


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.models", *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_prints_json_and_its_status_says_whether_all_is_well(manifest: Path) -> None:
    cache = {"ICONOTEXT_CACHE_DIR": str(manifest.parent / "cache")}
    listed = run("list", ICONOTEXT_MANIFEST=str(manifest), **cache)
    checked = run("check", "--manifest", str(manifest), **cache)

    assert (listed.returncode, checked.returncode) == (0, 1)
    assert json.loads(listed.stdout)["profile"] == json.loads(checked.stdout)["profile"] == "own"


def test_a_manifest_that_cannot_be_used_is_a_line_on_stderr(manifest: Path) -> None:
    manifest.write_text('extends = "fake"\n[models.Oracle]\nbackend = "fake"')

    finished = run("check", ICONOTEXT_MANIFEST=str(manifest))

    assert (finished.returncode, finished.stdout) == (2, "")
    assert "models.Oracle.id: Field required" in finished.stderr
    assert "Traceback" not in finished.stderr
