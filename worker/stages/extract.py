"""Stage one: features of the pictures and of the texts, each in its own encoder's terms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.schemas.base import ImageRef
from worker.models.capabilities import (
    ImageEncoder,
    ImageFeatures,
    RegionFeatures,
    TextEncoder,
    Vector,
    Vectors,
)
from worker.pipeline import Work


def image_features(work: Work, refs: Sequence[ImageRef]) -> list[ImageFeatures]:
    """Return what the image encoder sees in each whole picture."""
    if not refs:
        return []
    return work.map_images(ImageEncoder.encode_images, refs, work.model(ImageEncoder).view)


def region_features(work: Work, refs: Sequence[ImageRef]) -> list[RegionFeatures]:
    """Return what the image encoder sees in each cell of each picture."""
    if not refs:
        return []
    return work.map_images(ImageEncoder.encode_regions, refs, work.model(ImageEncoder).region_view)


def text_vectors(work: Work, texts: Sequence[str]) -> Vectors:
    """Return each text in the text space, float32 of shape (texts, dim)."""
    return stacked(work.map(TextEncoder.encode_texts, texts), work.model(TextEncoder).dim)


def stacked(vectors: Sequence[Vector], dim: int) -> Vectors:
    """Return vectors as rows; none become an array of shape (0, dim)."""
    return np.stack(vectors) if vectors else np.zeros((0, dim), dtype=np.float32)
