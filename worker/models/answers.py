"""From what speaks for answers to the list that an `Answerer` returns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worker.models.capabilities import UNKNOWN, Scored


def chosen(candidates: Sequence[str], likelihoods: Sequence[float]) -> list[Scored]:
    """Return candidates with their probabilities, given that one of them is the answer, surest first.

    Args:
        candidates: as the caller wrote them.
        likelihoods: logarithms of each one's probability.
    """
    values = np.asarray(likelihoods, dtype=np.float64)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    return _surest_first(list(zip(candidates, shares.tolist(), strict=True)))


def found(answers: Sequence[str], likelihoods: Sequence[float]) -> list[Scored]:
    """Return answers that were found with their probabilities, surest first.

    Answers that read alike are one; those that say nothing are none. Where none is left: `UNKNOWN`.
    """
    confidences: dict[str, float] = {}
    for answer, likelihood in zip(answers, likelihoods, strict=True):
        if answer:
            confidences[answer] = min(1.0, confidences.get(answer, 0.0) + float(np.exp(likelihood)))
    return _surest_first(list(confidences.items())) or [(UNKNOWN, 0.0)]


def _surest_first(scored: list[Scored]) -> list[Scored]:
    return sorted(scored, key=lambda one: -one[1])
