"""Stage four: rankings and encodings, as a result's JSON has them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.models.capabilities import Vectors


def ranking(labels: Sequence[str], scores: NDArray[np.float32], top_k: int) -> list[tuple[str, float]]:
    """Return the best `top_k` labels with their scores, best first; equals keep the order given."""
    best = np.argsort(-scores, kind="stable")[:top_k]
    # A share computed in float32 may pass 1 by one part in ten million.
    return [(labels[index], min(float(scores[index]), 1.0)) for index in best]


def encoded(vectors: Vectors, encoding: Literal["float", "base64"]) -> list[list[float] | str]:
    """Return each row as floats, or as base64 of its little-endian float32."""
    if encoding == "float":
        return [row.tolist() for row in vectors]
    return [base64.b64encode(row.astype("<f4").tobytes()).decode("ascii") for row in vectors]
