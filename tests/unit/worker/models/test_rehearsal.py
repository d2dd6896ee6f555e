"""A first start fills the cache from a process of its own, and its failure costs memory only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file
from structlog.testing import capture_logs

from worker.models import rehearsal
from worker.models.rehearsal import rehearse


class Child:
    """Stands for the process; remembers what it was asked to load."""

    def __init__(self, *, succeeds: bool = True) -> None:
        self.asked: list[dict[str, Any]] = []
        self.succeeds = succeeds

    def __call__(self, arguments: dict[str, Any]) -> bool:
        self.asked.append(arguments)
        return self.succeeds


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Child:
    child = Child()
    monkeypatch.setattr(rehearsal, "_ran", child)
    return child


def test_it_happens_once(tmp_path: Path, child: Child) -> None:
    for _ in range(2):
        rehearse("starter", device="cpu", cache_dir=tmp_path, threads=2)

    (asked,) = child.asked
    assert asked == {
        "profile": "starter",
        "device": "cpu",
        "cache_dir": str(tmp_path),
        "runtime": "auto",
        "threads": 2,
    }


def test_other_cores_rehearse_anew(tmp_path: Path, child: Child) -> None:
    for threads in (1, 2):
        rehearse("starter", device="cpu", cache_dir=tmp_path, threads=threads)

    assert [asked["threads"] for asked in child.asked] == [1, 2]


def test_one_that_failed_is_tried_again(tmp_path: Path, child: Child) -> None:
    child.succeeds = False
    for _ in range(2):
        rehearse("starter", device="cpu", cache_dir=tmp_path)

    assert len(child.asked) == 2


def test_an_operators_manifest_is_rehearsed_with_what_is_here(tmp_path: Path, child: Child) -> None:
    manifest = tmp_path / "own.toml"
    manifest.write_text('extends = "starter"\n[models.TextEncoder]\nfolder = "none"')
    rehearse("starter", device="cpu", cache_dir=tmp_path, manifest=manifest)

    (asked,) = child.asked
    assert asked["manifest"] == str(manifest)


def test_beside_a_model_that_is_torchs_own_there_is_none(tmp_path: Path, child: Child) -> None:
    (tmp_path / "texts").mkdir()
    save_file({}, tmp_path / "texts" / "model.safetensors")
    manifest = tmp_path / "own.toml"
    manifest.write_text('extends = "starter"\n[models.TextEncoder]\nfolder = "texts"')
    rehearse("starter", device="cpu", cache_dir=tmp_path, manifest=manifest)

    assert child.asked == []


def test_with_no_weights_here_there_is_none(tmp_path: Path, child: Child) -> None:
    manifest = tmp_path / "own.toml"
    manifest.write_text('extends = "fake"\n[models.TextEncoder]\nfolder = "none"')
    rehearse("fake", device="cpu", cache_dir=tmp_path, manifest=manifest)

    assert child.asked == []


@pytest.mark.parametrize(
    "changes", [{"profile": "fake"}, {"device": "cuda:0"}, {"runtime": "eager"}, {"runtime": "bf16"}]
)
def test_where_torch_stays_or_nothing_is_costly_there_is_none(
    tmp_path: Path, child: Child, changes: dict[str, Any]
) -> None:
    rehearse(**{"profile": "starter", "device": "cpu", "cache_dir": tmp_path, **changes})

    assert child.asked == []


def test_what_the_child_logs_is_logged(tmp_path: Path) -> None:
    manifest = tmp_path / "own.toml"
    entry = 'backend = "fake"\nid = "a/b"\narchitecture = "x"\nlicence = "MIT"\ngrade = "test"'
    manifest.write_text(f'summary = "x"\n[models.TextEncoder]\n{entry}\n')
    arguments = {"profile": str(manifest), "device": "cpu", "cache_dir": str(tmp_path)}

    assert rehearsal._ran(arguments)
    manifest.write_text("nonsense")
    with capture_logs() as logs:
        assert not rehearsal._ran(arguments)

    (entry_logged,) = logs
    assert entry_logged["event"] == "first_start_failed"
    assert "not TOML" in entry_logged["error"]
