"""Vectors as rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of L2 norm 1, along the last axis; a row of zeros stays."""
    lengths = np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.float32(1e-12))
    scaled: NDArray[np.float32] = (rows / lengths).astype(np.float32)
    return scaled
