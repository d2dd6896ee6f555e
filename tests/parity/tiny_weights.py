"""Weights for networks that nobody trained: drawn large, so that every input makes a difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from worker.models.capabilities import Pixels

#: Of freshly built networks it is .02, and all pictures and texts come out nearly alike.
_DEVIATION = 0.25


def seeded(network: Any, seed: int) -> Any:
    """Return the network, its weights drawn anew, the same for the same seed."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            drawn = torch.randn(parameter.shape, generator=random) * _DEVIATION
            # Scales of norms are vectors of ones; around 1 they stay scales.
            is_scale = parameter.ndim == 1 and bool((parameter == 1).all())
            parameter.copy_(1 + drawn if is_scale else drawn)
    return network.eval()


def noisy(side: int, count: int, seed: int = 5) -> list[Pixels]:
    """Return square pictures that differ: a colour in each, and noise on it."""
    random = np.random.default_rng(seed)
    size = (side, side, 3)
    return [
        np.clip(random.integers(0, 256, 3) + random.normal(0, 50, size), 0, 255).astype(np.uint8)
        for _ in range(count)
    ]
