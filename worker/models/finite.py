"""The proof that a model answered with numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelFailed


def require_finite(*answers: NDArray[Any]) -> None:
    """Refuse a batch of answers that holds a NaN or an infinity.

    Whoever called the model splits the batch until the item at fault stands alone.

    Raises:
        ModelFailed: some number is not finite.
    """
    for answer in answers:
        if not np.isfinite(answer).all():
            raise ModelFailed("the model answered with numbers that are not finite")
