"""Torch with its products in bfloat16: eight bits of mantissa, so seldom near enough to be chosen unasked."""

from __future__ import annotations

import torch

from worker.models.runtimes.eager import Eager, prepared_device
from worker.models.runtimes.network import Operation, Place, Runtime


class HalfPrecision(Eager):
    """A `Network`. Sums, normalisations and softmax stay in float32, as torch's autocast has it."""

    runtime: Runtime = "bf16"
    dtype = "bfloat16"

    def _run(self, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            return super()._run(inputs)


def open_bf16(operation: Operation, place: Place) -> HalfPrecision:
    """Return the operation in torch, bfloat16 where autocast allows it."""
    return HalfPrecision(operation.build(), prepared_device(place))
