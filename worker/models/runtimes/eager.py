"""Torch as it is: the reference that every other runtime is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from worker.models.runtimes.network import Answers, Operation, Place, Runtime


class Eager:
    """A `Network`."""

    runtime: Runtime = "eager"
    dtype = "float32"
    fingerprint = ""

    def __init__(self, module: torch.nn.Module, device: torch.device) -> None:
        self._module = module.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, *batch: NDArray[Any]) -> Answers:
        outputs = self._run([self._moved(array) for array in batch])
        return tuple(output.float().cpu().numpy() for output in outputs)

    def _run(self, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        outputs: tuple[torch.Tensor, ...] = self._module(*inputs)
        return outputs

    def _moved(self, array: NDArray[Any]) -> torch.Tensor:
        # Of an array that cannot be written torch warns; a batch is stacked for us, so this copies nothing.
        tensor = torch.from_numpy(np.require(array, requirements="W"))
        if self._device.type == "cuda":
            # From pinned memory the copy runs beside the kernels that are still at work.
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor


def open_eager(operation: Operation, place: Place) -> Eager:
    """Return the operation in torch, float32."""
    return Eager(operation.build(), prepared_device(place))


def prepared_device(place: Place) -> torch.device:
    """Return the torch device of a place; on a CPU, torch keeps to the place's cores from now on."""
    device = torch.device(place.device)
    if device.type == "cpu" and torch.get_num_threads() != place.threads:
        torch.set_num_threads(place.threads)
    return device
