"""`iconotext models` asks the worker's own process and shows what it says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import manifest
from client.cli import app

OWN = """
extends = "fake"
[models.Captioner]
folder = "blip"
memory_bytes = 1_500_000_000
dtype = "bfloat16"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a manifest with a model that is not here."""
    monkeypatch.setenv("ICONOTEXT_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("ICONOTEXT_MANIFEST", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return path


def test_models_are_listed_with_their_sources_and_whether_they_are_here(own: Path) -> None:
    done = CliRunner().invoke(app, ["models", "list", "--manifest", str(own)])

    words = " ".join(done.stdout.split())
    assert done.exit_code == 0
    assert "own: Deterministic stand-ins" in words
    assert "bfloat16 1.5 GB" in words
    assert f"Captioner: folder {own.parent / 'blip'} is not there" in words


def test_a_check_fails_while_a_model_is_missing_and_prints_json_where_asked(own: Path) -> None:
    done = CliRunner().invoke(app, ["models", "check", "--manifest", str(own), "--json"])

    models = {model["capability"]: model["state"] for model in json.loads(done.stdout)["models"]}
    assert done.exit_code == 1
    assert [name for name, state in models.items() if state != "ready"] == ["Captioner"]


def test_where_all_is_here_a_pull_has_nothing_to_do(own: Path) -> None:
    done = CliRunner().invoke(app, ["models", "pull", "--profile", "fake"])

    assert done.exit_code == 0, done.output
    assert "missing" not in done.stdout


def test_a_profile_that_is_not_there_is_explained(own: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(app, ["models", "list", "--profile", "nonesuch"])

    assert done.exit_code == 1
    assert "there is no profile 'nonesuch'; use one of classic, fake, full, starter" in capfd.readouterr().err
    assert "the line above says why" in done.stderr


def test_without_the_workers_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "find_spec", lambda name: None if name == "safetensors" else os)

    done = CliRunner().invoke(app, ["models", "list"])

    assert done.exit_code == 1
    assert "pip install 'iconotext[worker]'" in done.stderr
