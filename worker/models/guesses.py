"""What detectors share: from a network's many guesses to the objects that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.models.capabilities import Detection, DetectionRequest, Pixels
from worker.models.finite import require_finite


def alike(images: Sequence[Pixels]) -> list[list[int]]:
    """Return the indices of pictures, those of one shape together, in order."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(index)
    return list(shapes.values())


def detections(
    request: DetectionRequest, labels: Sequence[str], scores: NDArray[Any], boxes: NDArray[Any]
) -> list[Detection]:
    """Return the guesses that a request wants, surest first, cut at the picture's edges.

    Args:
        request: names its threshold.
        labels: one for each guess.
        scores: of shape (N,), in [0, 1].
        boxes: of shape (N, 4): x0, y0, x1, y1 in shares of the picture; they may reach beyond it.

    Raises:
        ModelFailed: some number is not finite.
    """
    require_finite(scores, boxes)
    inside = np.clip(boxes.astype(np.float64), 0.0, 1.0)
    found: list[Detection] = []
    for index in np.argsort(-scores, kind="stable"):
        if len(found) == request.max_objects or scores[index] < (request.threshold or 0.0):
            break
        left, top, right, bottom = inside[index].tolist()
        if left < right and top < bottom:
            found.append(
                Detection(label=labels[index], score=float(scores[index]), box=(left, top, right, bottom))
            )
    return found
