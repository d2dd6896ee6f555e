"""The device is chosen once, and a wish that cannot be met is refused in words."""

from __future__ import annotations

import pytest
import torch

from shared.errors import BadConfiguration
from worker.engine.devices import choose_device


@pytest.fixture(params=[0, 2])
def cuda_devices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count: int = request.param
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
