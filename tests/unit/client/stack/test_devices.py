"""Which device each worker gets, on machines with any number of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from client.errors import StackFailed
from client.stack.devices import cores, cuda_devices, devices

Machine = Callable[..., dict[str, str]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return what makes the environment of a machine with so many GPUs; None: no driver either."""

    def make(gpus: int | None, *, status: int = 0, **more: str) -> dict[str, str]:
        if gpus is not None:
            lines = [f"GPU {number}: NVIDIA H100 (UUID: GPU-{number})" for number in range(gpus)]
            # A part of a GPU: seen only by who is told of it.
            lines.append("  MIG 1g.10gb     Device  0: (UUID: MIG-0)")
            program = tmp_path / "nvidia-smi"
            program.write_text(
                "#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {status}\n"
            )
            program.chmod(0o755)
        return {"PATH": f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin", **more}

    return make


@pytest.mark.parametrize(
    ("gpus", "wanted", "workers", "expected"),
    [
        (None, None, None, ("auto",)),
        (0, None, None, ("auto",)),
        (1, None, None, ("auto",)),
        (3, None, None, ("cuda:0", "cuda:1", "cuda:2")),
        (3, "auto", None, ("cuda:0", "cuda:1", "cuda:2")),
        (3, "auto", 1, ("auto",)),
        (2, None, 3, ("cuda:0", "cuda:1", "cuda:0")),
        (None, None, 3, ("auto", "auto", "auto")),
        (3, "cpu", None, ("cpu",)),
        (3, "cpu", 2, ("cpu", "cpu")),
        (3, "cuda:1", None, ("cuda:1",)),
        (1, "cuda:0", 2, ("cuda:0", "cuda:0")),
    ],
)
def test_each_worker_gets_a_device(
    machine: Machine, gpus: int | None, wanted: str | None, workers: int | None, expected: tuple[str, ...]
) -> None:
    assert devices(wanted, workers, machine(gpus)) == expected


def test_the_environment_decides_where_the_option_does_not(machine: Machine) -> None:
    env = machine(3, ICONOTEXT_DEVICE="cuda:2")

    assert devices(None, None, env) == ("cuda:2",)
    assert devices("auto", None, env) == ("cuda:0", "cuda:1", "cuda:2")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_a_device_that_is_none_is_refused(machine: Machine, wanted: str) -> None:
    with pytest.raises(StackFailed, match="--device is auto, cpu or cuda:N"):
        devices(wanted, 1, machine(1))


@pytest.mark.parametrize(
    ("gpus", "visible", "expected"),
    [
        (4, "0,2", 2),
        (4, "3", 1),
        (4, "", 0),
        (4, "-1", 0),
        (4, "1,-1,2", 1),
        (4, "1,9,2", 1),
        (None, "0,1", 2),
        (1, "MIG-0, MIG-1", 2),
        (0, "0", 0),
    ],
)
def test_only_visible_devices_count(machine: Machine, gpus: int | None, visible: str, expected: int) -> None:
    assert cuda_devices(machine(gpus, CUDA_VISIBLE_DEVICES=visible)) == expected


def test_a_driver_that_does_not_answer_has_no_devices(machine: Machine) -> None:
    assert cuda_devices(machine(2, status=9)) == 0


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("100000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None), (None, None)],
)
def test_a_containers_share_of_the_cores_counts(
    tmp_path: Path, quota: str | None, expected: int | None
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)

    assert cores(file) == (expected or len(os.sched_getaffinity(0)))
