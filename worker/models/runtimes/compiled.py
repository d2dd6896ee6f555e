"""Torch's own compiler.

It needs a C++ compiler (on CUDA: Triton) and compiles for minutes in every process that starts. On a CPU ONNX
Runtime is as fast after seconds, once per machine, so there it runs only when asked for by name.
"""

from __future__ import annotations

from typing import cast

import torch

from worker.models.runtimes.eager import Eager, prepared_device
from worker.models.runtimes.network import Operation, Place, Runtime


class Compiled(Eager):
    """A `Network`."""

    runtime: Runtime = "compiled"


def open_compiled(operation: Operation, place: Place) -> Compiled:
    """Return the operation compiled for batches of any length."""
    module = torch.compile(operation.build(), dynamic=True)
    return Compiled(cast("torch.nn.Module", module), prepared_device(place))
