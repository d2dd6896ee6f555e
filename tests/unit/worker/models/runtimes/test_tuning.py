"""The fastest runtime that answers as eager torch does is chosen, once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from worker.models.runtimes import onnx, tuning
from worker.models.runtimes.network import Batch, Operation, Place
from worker.models.runtimes.tuning import tune

DIM = 16


class Doubling(torch.nn.Module):
    """A layer whose answers are exact in float32, and not in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(DIM, DIM, bias=False)
        self.layer.weight.data = torch.eye(DIM) * 2

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.layer(rows),)


@dataclasses.dataclass
class Workshop:
    """One operation at one place, and how often its network was built."""

    place: Place
    built: int = 0

    def build(self) -> torch.nn.Module:
        self.built += 1
        return Doubling().eval().requires_grad_(False)

    def operation(self, **changes: Any) -> Operation:
        fields = {
            "name": "double",
            "revision": "1",
            "version": 1,
            "build": self.build,
            "sample": sample,
            "varying": ((0,),),
        }
        return Operation(**(fields | changes))


def sample(items: int) -> Batch:
    return (np.random.default_rng(items).normal(size=(items, DIM)).astype(np.float32),)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(Place(device="cpu", threads=1, cache_dir=tmp_path / "cache"))


class Candidate:
    """A runtime of our own making: so far off the truth."""

    dtype = "float32"

    def __init__(self, name: str, offset: float = 0.0) -> None:
        self.runtime = name
        self.offset = offset
        self.fingerprint = name

    def __call__(self, rows: Any) -> Any:
        return (rows * 2 + np.float32(self.offset),)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Return a function that puts a candidate, or an error, in the place of ONNX Runtime."""

    def put(candidate: Any) -> None:
        def open_onnx(_operation: Operation, _place: Place) -> Any:
            if isinstance(candidate, Exception):
                raise candidate
            return candidate

        monkeypatch.setattr(onnx, "open_onnx", open_onnx)

    return put


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Say how fast each runtime is, in items a second at batch sizes 1 and 2."""
    said: dict[str, float] = {"eager": 10.0, "bf16": 10.0, "onnx": 100.0}

    def race(_operation: Operation, networks: Any, _place: Place) -> Any:
        return {name: {1: said[name], 2: said[name] * 1.5} for name in networks}

    monkeypatch.setattr(tuning, "race", race)
    return iter([said])


def events(logs: Any, event: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == event]


@pytest.mark.parametrize("wanted", ["auto", "eager", "bf16", "onnx"])
def test_every_runtime_answers(workshop: Workshop, wanted: Any) -> None:
    (rows,) = sample(3)

    found = tune(workshop.operation(), workshop.place, wanted)
    (answer,) = found.network(rows)

    assert wanted in ("auto", found.network.runtime)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, rows * 2, atol=0.05 if wanted == "bf16" else 1e-6)
    assert found.batch >= 1


def test_the_faster_is_chosen_with_its_best_batch(workshop: Workshop, offer: Any, paces: Any) -> None:
    offer(Candidate("onnx"))

    found = tune(workshop.operation(), workshop.place)

    assert (found.network.runtime, found.batch) == ("onnx", 2)


def test_the_slower_is_not_chosen(workshop: Workshop, offer: Any, paces: Any) -> None:
    offer(Candidate("onnx"))
    next(paces)["onnx"] = 1.0

    assert tune(workshop.operation(), workshop.place).network.runtime == "eager"


@pytest.mark.parametrize("offset", [2e-4, float("nan"), float("inf")])
def test_one_that_moves_answers_is_never_chosen(
    workshop: Workshop, offer: Any, paces: Any, offset: float
) -> None:
    offer(Candidate("onnx", offset))

    with capture_logs() as logs:
        assert tune(workshop.operation(), workshop.place).network.runtime == "eager"

    assert any(
        not entry["agrees"] and entry["runtime"] == "onnx" for entry in events(logs, "runtime_compared")
    )


def test_half_precision_is_used_when_asked_for_and_its_difference_told(workshop: Workshop) -> None:
    assert tune(workshop.operation(), workshop.place).network.dtype == "float32"

    with capture_logs() as logs:
        found = tune(workshop.operation(), workshop.place, "bf16")

    assert found.network.dtype == "bfloat16"
    assert [entry["log_level"] for entry in events(logs, "runtime_compared")] == ["warning"]


def test_one_that_was_asked_for_must_still_give_numbers(workshop: Workshop, offer: Any, paces: Any) -> None:
    offer(Candidate("onnx", float("nan")))

    assert tune(workshop.operation(), workshop.place, "onnx").network.runtime == "eager"


@pytest.mark.parametrize("wanted", ["auto", "onnx"])
def test_one_that_fails_leaves_eager(workshop: Workshop, offer: Any, paces: Any, wanted: Any) -> None:
    offer(RuntimeError("no such operator"))

    with capture_logs() as logs:
        assert tune(workshop.operation(), workshop.place, wanted).network.runtime == "eager"

    (entry,) = events(logs, "runtime_failed")
    assert (entry["log_level"], entry["runtime"], entry["error"]) == ("warning", "onnx", "no such operator")


def test_a_network_that_cannot_be_built_is_no_runtimes_fault(workshop: Workshop) -> None:
    def build() -> torch.nn.Module:
        raise OSError("weights gone")

    with pytest.raises(OSError, match="weights gone"):
        tune(workshop.operation(build=build), workshop.place)


def test_the_choice_and_the_rates_are_told(workshop: Workshop, offer: Any, paces: Any) -> None:
    offer(Candidate("onnx"))

    with capture_logs() as logs:
        tune(workshop.operation(), workshop.place)

    (entry,) = events(logs, "runtime_chosen")
    assert (entry["operation"], entry["runtime"], entry["batch"]) == ("double", "onnx", 2)
    assert entry["items_per_s"] == {"eager": {1: 10, 2: 15}, "onnx": {1: 100, 2: 150}}


def test_the_second_time_nothing_is_built_or_measured(workshop: Workshop) -> None:
    first = tune(workshop.operation(), workshop.place, "onnx")
    built = workshop.built

    with capture_logs() as logs:
        second = tune(workshop.operation(), workshop.place, "onnx")

    assert workshop.built == built
    assert logs == []
    assert second.batch == first.batch
    np.testing.assert_array_equal(second.network(*sample(2))[0], first.network(*sample(2))[0])


@pytest.mark.parametrize("change", [{"revision": "2"}, {"version": 2}, {"name": "other"}])
def test_another_network_is_measured_anew(workshop: Workshop, change: dict[str, Any]) -> None:
    tune(workshop.operation(), workshop.place, "onnx")
    built = workshop.built

    tune(workshop.operation(**change), workshop.place, "onnx")

    assert workshop.built > built


def test_other_cores_are_measured_anew_over_the_same_export(workshop: Workshop) -> None:
    tune(workshop.operation(), workshop.place, "onnx")
    built = workshop.built

    tune(workshop.operation(), dataclasses.replace(workshop.place, threads=2), "onnx")

    assert workshop.built == built + 1
    assert len(list(workshop.place.cache_dir.glob("*.onnx-*"))) == 1


@pytest.mark.parametrize("name", ["onnx", "tuning"])
def test_a_damaged_file_is_made_and_checked_anew(workshop: Workshop, name: str) -> None:
    tune(workshop.operation(), workshop.place, "onnx")
    (file,) = workshop.place.cache_dir.glob(f"*.{name}-*")
    file.write_bytes(file.read_bytes()[:-3])

    with capture_logs() as logs:
        found = tune(workshop.operation(), workshop.place, "onnx")

    assert found.network.runtime == "onnx"
    assert events(logs, "cache_damaged")


def test_an_export_that_was_never_measured_is_not_trusted(workshop: Workshop) -> None:
    tune(workshop.operation(), workshop.place, "onnx")
    (file,) = workshop.place.cache_dir.glob("*.onnx-*")
    other = Workshop(dataclasses.replace(workshop.place, cache_dir=workshop.place.cache_dir / "other"))
    tripled = Doubling()
    tripled.layer.weight.data *= 1.5
    tune(other.operation(build=lambda: tripled.eval().requires_grad_(False)), other.place, "onnx")
    (wrong,) = other.place.cache_dir.glob("*.onnx-*")
    file.write_bytes(wrong.read_bytes())

    with capture_logs() as logs:
        tune(workshop.operation(), workshop.place, "onnx")

    assert [entry["agrees"] for entry in events(logs, "runtime_compared")] == [False]


def test_exporting_leaves_a_network_in_evaluation_mode(workshop: Workshop) -> None:
    """The reference that an export is compared with is the same module."""
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(DIM).eval())
    assert network.training

    onnx.export(workshop.operation(build=lambda: network))

    assert not any(part.training for part in network.modules())


def test_of_several_that_start_at_once_one_measures(workshop: Workshop, offer: Any, paces: Any) -> None:
    offer(Candidate("onnx"))
    found: list[Any] = []
    starts = threading.Barrier(4)

    def start() -> None:
        starts.wait(10)
        found.append(tune(workshop.operation(), workshop.place).network.runtime)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert found == ["onnx"] * 4
    assert workshop.built == 1


def test_a_cache_that_takes_no_file_costs_the_memory_only(workshop: Workshop, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    place = dataclasses.replace(workshop.place, cache_dir=blocked)

    assert tune(workshop.operation(), place, "onnx").network.runtime == "onnx"


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_keeps_to_the_cores_it_is_given(workshop: Workshop, threads: int) -> None:
    before = torch.get_num_threads()
    try:
        tune(workshop.operation(), dataclasses.replace(workshop.place, threads=threads), "eager")

        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
