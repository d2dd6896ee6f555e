"""The files of an entry are found without being read; read, they are what the manifest says."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from shared.errors import ModelUnavailable
from shared.manifests import Entry
from worker.models import folders
from worker.models.folders import contents_of
from worker.models.sources import Files, locate, verify

WEIGHTS = save({"weight": np.ones(3, dtype=np.float32)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkpoint in a folder."""
    folder = tmp_path / "checkpoint"
    (folder / "unet").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "unet" / "model.safetensors").write_bytes(WEIGHTS)
    return folder


def entry(**fields: Any) -> Entry:
    known = {"backend": "fake", "id": "a/b", "architecture": "x", "licence": "MIT", "grade": "test"}
    return Entry.model_validate({**known, **fields})


def index(folder: Path, *shards: str) -> None:
    names = {f"weight {number}": shard for number, shard in enumerate(shards)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def test_a_model_without_weights_has_no_files() -> None:
    assert locate(entry()) == Files()


def test_a_folder_of_the_operator_is_taken_as_it_is(folder: Path) -> None:
    assert locate(entry(folder=folder)) == Files(folder=folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=rf"folder {tmp_path}/none is not there"):
        locate(entry(folder=tmp_path / "none"))


def test_pickles_are_no_weights(folder: Path) -> None:
    (folder / "unet" / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(ModelUnavailable, match=r"holds no \.safetensors file"):
        locate(entry(folder=folder))


def test_every_shard_must_be_there(folder: Path) -> None:
    index(folder, "unet/model.safetensors", "2.safetensors", "1.safetensors")

    with pytest.raises(ModelUnavailable, match=r"lacks 1\.safetensors, 2\.safetensors$"):
        locate(entry(folder=folder))


def test_an_index_that_is_none_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[]")

    with pytest.raises(ModelUnavailable, match="is no index of weights"):
        locate(entry(folder=folder))


def test_a_package_that_a_backend_needs_beside_is_named() -> None:
    with pytest.raises(
        ModelUnavailable, match=r"needs the package no_such_thing, .* `pip install no_such_thing`"
    ):
        locate(entry(requires=["os", "no_such_thing"]))


def test_a_file_with_another_content_is_refused(folder: Path) -> None:
    files = {"config.json": hashlib.sha256(b"{}").hexdigest(), "unet/model.safetensors": "0" * 64}

    verify(entry(folder=folder, files={"config.json": files["config.json"]}), Files(folder=folder))
    with pytest.raises(
        ModelUnavailable, match=r"unet/model\.safetensors has sha256 [0-9a-f]{64}; the manifest"
    ):
        verify(entry(folder=folder, files=files), Files(folder=folder))


def test_the_hash_of_a_folder_is_that_of_what_a_backend_reads_in_it(folder: Path, tmp_path: Path) -> None:
    first = contents_of(folder, tmp_path / "cache")
    (folder / "README.md").write_text("words")
    same = contents_of(folder, tmp_path / "cache")
    (folder / "config.json").write_text("[]")
    other = contents_of(folder, tmp_path / "cache")

    assert first == same != other
    assert first.startswith("sha256:")


def test_a_folder_is_hashed_once_while_nothing_in_it_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(folders, "sha256_of", lambda path: read.append(path) or "0" * 64)

    for _ in range(2):
        contents_of(folder, tmp_path / "cache")
    assert len(read) == 2
    os.utime(folder / "config.json", ns=(1, 1))
    contents_of(folder, tmp_path / "cache")

    assert len(read) == 4
