"""What was computed once is read again, unless anything about it is doubtful."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from worker.models.cache import Tensors, cached_tensors


class Computation:
    """Counts how often it was made to compute."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Tensors:
        self.times += 1
        return {"ones": np.ones((2, 3), dtype=np.float32)}


@pytest.fixture
def compute() -> Computation:
    return Computation()


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_the_second_time_reads(tmp_path: Path, compute: Computation) -> None:
    first = cached_tensors(tmp_path / "new", "ones", [1, "a"], compute)
    second = cached_tensors(tmp_path / "new", "ones", [1, "a"], compute)

    assert compute.times == 1
    assert np.array_equal(first["ones"], second["ones"])


def test_other_inputs_compute_anew(tmp_path: Path, compute: Computation) -> None:
    cached_tensors(tmp_path, "ones", [1, "a"], compute)
    cached_tensors(tmp_path, "ones", [2, "a"], compute)

    assert compute.times == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:40],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: b"no tensors at all",
    ],
    ids=["empty", "cut by a byte", "cut short", "a bit of a tensor", "a bit of the digest", "other content"],
)
def test_a_damaged_file_is_made_anew(tmp_path: Path, compute: Computation, damage: object) -> None:
    cached_tensors(tmp_path, "ones", [], compute)
    file = only_file(tmp_path)
    whole = file.read_bytes()
    assert callable(damage)
    file.write_bytes(damage(whole))

    with capture_logs() as logs:
        tensors = cached_tensors(tmp_path, "ones", [], compute)

    assert compute.times == 2
    assert tensors["ones"].shape == (2, 3)
    assert only_file(tmp_path).read_bytes() == whole
    assert [entry["event"] for entry in logs] == ["cache_damaged"]


def test_a_folder_that_takes_no_file_costs_the_cache_only(tmp_path: Path, compute: Computation) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")

    with capture_logs() as logs:
        tensors = cached_tensors(blocked, "ones", [], compute)

    assert tensors["ones"].shape == (2, 3)
    assert [entry["event"] for entry in logs] == ["cache_not_written"]


def test_of_several_that_compute_at_once_one_does(tmp_path: Path) -> None:
    compute = Computation()
    starts = threading.Barrier(4)

    def ask(_: int) -> Tensors:
        starts.wait(10)
        return cached_tensors(tmp_path, "ones", [], compute)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))

    assert compute.times == 1
    assert all(np.array_equal(answer["ones"], np.ones((2, 3))) for answer in answers)
