"""A network to run, the place to run it, and what every runtime makes of the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

#: One array per argument of the network, items along the first axis.
Batch = tuple[NDArray[Any], ...]
#: One array per output, items along the first axis.
Answers = tuple[NDArray[np.float32], ...]
Runtime = Literal["eager", "bf16", "compiled", "onnx"]
#: `auto`: whichever is measured to be the fastest.
Wanted = Literal["auto", "eager", "bf16", "compiled", "onnx"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One network of a model: what it is made from, how it is built, what it is fed with."""

    #: The method that it serves, `encode_images`.
    name: str
    #: Of the weights.
    revision: str
    #: Goes up whenever the network computes something else from the same weights.
    version: int
    #: Returns the float32 network in evaluation mode, on the CPU; what needs torch happens in here.
    build: Callable[[], torch.nn.Module]
    #: Returns a batch of so many items, the same whenever asked; long texts, small pictures, as jobs bring.
    sample: Callable[[int], Batch]
    #: For each argument, the axes whose length differs from call to call.
    varying: tuple[tuple[int, ...], ...]
    #: As `build`, where another form of the same network exports faster or runs faster once exported.
    build_for_export: Callable[[], torch.nn.Module] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where networks run."""

    #: As torch names it: `cpu`, `cuda:0`.
    device: str
    #: Cores that this process may use.
    threads: int
    #: Where exports and measurements are kept; anything in it may vanish.
    cache_dir: Path


class Network(Protocol):
    """An operation, ready to run. Only one thread at a time may call it."""

    @property
    def runtime(self) -> Runtime: ...

    @property
    def dtype(self) -> str:
        """Return what its products are computed in: `float32`, `bfloat16`."""

    @property
    def fingerprint(self) -> str:
        """Return what tells this network from a later one of the same operation; "" where nothing can."""

    def __call__(self, *batch: NDArray[Any]) -> Answers:
        """Return the outputs for a batch, on the CPU."""
