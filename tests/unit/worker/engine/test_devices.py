"""The device is chosen once, and what of it this process has is measured."""

from __future__ import annotations

import ctypes
import mmap
import os

import pytest
import torch

from shared.errors import BadConfiguration
from worker.engine.devices import choose_device, model_budget_bytes, resident_bytes


@pytest.fixture(params=[0, 2])
def cuda_devices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count: int = request.param
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    return count


def test_auto_takes_the_first_cuda_device_or_else_the_cpu(cuda_devices: int) -> None:
    assert choose_device("auto") == ("cuda:0" if cuda_devices else "cpu")


def test_the_cpu_is_always_there(cuda_devices: int) -> None:
    assert choose_device("cpu") == "cpu"


def test_a_device_that_is_not_there_is_refused_with_what_is(cuda_devices: int) -> None:
    with pytest.raises(BadConfiguration, match="this machine has cpu"):
        choose_device(f"cuda:{cuda_devices}")


def test_what_is_allocated_shows_in_the_resident_bytes() -> None:
    before = resident_bytes("cpu")
    # Not through malloc, which may have pages left from what this process freed before.
    with mmap.mmap(-1, 32 * 2**20) as held:
        held.write(b"\1" * len(held))
        after = resident_bytes("cpu")
    assert after - before > 24 * 2**20


def test_on_cuda_the_resident_bytes_are_those_that_torch_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_allocated", {"cuda:1": 5}.__getitem__)
    assert resident_bytes("cuda:1") == 5


def test_without_a_driver_there_is_only_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", nothing)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    assert choose_device("auto") == "cpu"


def test_a_cpu_lends_models_a_part_of_its_memory() -> None:
    assert 0 < model_budget_bytes("cpu") < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
