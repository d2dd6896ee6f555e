"""How sure a writer was of each token while it always took the likeliest."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LogitsProcessor

from worker.models.finite import require_finite


class Surety(LogitsProcessor):
    """Stands among `generate`'s `logits_processor`s and changes nothing.

    It keeps one number a token, where `output_logits` would keep the whole vocabulary's.
    """

    def __init__(self) -> None:
        self._best: list[torch.Tensor] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002  # generate hands over both
        self._best.append(scores.float().log_softmax(dim=-1).amax(dim=-1))
        return scores

    def logarithms(self) -> NDArray[np.float32]:
        """Return the logarithm of each taken token's probability, (rows, tokens); also after a row's end.

        Raises:
            ModelFailed: some is not finite: what was written means nothing.
        """
        found: NDArray[np.float32] = torch.stack(self._best, dim=1).cpu().numpy()
        require_finite(found)
        return found
