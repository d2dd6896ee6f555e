"""Whether a runtime answers as torch does."""

from __future__ import annotations

import math

import numpy as np

from worker.models.runtimes.network import Network, Operation

#: The most that a number in an answer may differ from eager float32's; `tests/contract/test_models.py` allows
#: as much between an item's answers in two batches.
TOLERANCE = 1e-4
#: One item runs through other kernels than several, and several texts are padded.
_BATCHES = (1, 3)


class Expected:
    """What eager float32 answers to a few batches."""

    def __init__(self, operation: Operation, reference: Network) -> None:
        batches = [operation.sample(items) for items in _BATCHES]
        self._known = [(batch, reference(*batch)) for batch in batches]

    def difference(self, network: Network) -> float:
        """Return by how much a network's answers differ at most; infinite where one is no number.

        It looks no further once that is more than `TOLERANCE`.
        """
        worst = 0.0
        for batch, expected in self._known:
            for answer, wanted in zip(network(*batch), expected, strict=True):
                gap = float(np.abs(answer - wanted).max())
                worst = max(worst, gap if math.isfinite(gap) else math.inf)
            if worst > TOLERANCE:
                break
        return worst
