"""What a device's failures mean."""

from __future__ import annotations

import pytest

from worker.engine.failures import is_out_of_memory, is_sticky, release_memory


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 1024"),
    ],
)
def test_memory_failures_are_told_and_are_not_sticky(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_sticky(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_errors_that_stick_to_the_process_are_told(error: Exception) -> None:
    assert is_sticky(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", [ValueError("CUDA error"), RuntimeError("shape mismatch"), KeyError("x")])
def test_ordinary_errors_are_neither(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert not is_sticky(error)


def test_torchs_own_errors_are_told() -> None:
    torch = pytest.importorskip("torch")
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_sticky(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    release_memory()
