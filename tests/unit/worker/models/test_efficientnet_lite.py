"""The picture encoder knows a cat, and reads weights as data only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import BadConfiguration
from shared.settings import Limits
from tests.direct import loaded
from worker.media.images import decode
from worker.models.capabilities import ModelCard
from worker.models.efficientnet_lite import load
from worker.models.sources import Source

PHOTOS = Path(__file__).parents[4] / "client" / "demo" / "photos"
CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}


@pytest.fixture
def encoder() -> Any:
    return loaded("starter").models["ImageEncoder"]


def source(weights: Path | None, folder: Path) -> Source:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    return Source(capability="ImageEncoder", card=card, weights=weights, over={}, cache_dir=folder)


def test_it_sees_a_cat(encoder: Any) -> None:
    picture = np.asarray(decode((PHOTOS / "cat.jpg").read_bytes(), encoder.view, Limits()))

    (seen,) = encoder.encode_images([picture])
    best = {encoder.vocabulary[index] for index in np.argsort(-seen.probabilities)[:3]}

    assert best <= CATS
    assert sum(seen.probabilities[encoder.vocabulary.index(cat)] for cat in CATS) > 0.8


def test_the_mean_of_the_cells_is_the_whole(encoder: Any) -> None:
    """The encoder is one network: given the same pixels, its map's mean is its pooled feature."""
    picture = np.asarray(decode((PHOTOS / "cat.jpg").read_bytes(), encoder.view, Limits()))

    (whole,), (cells,) = encoder.encode_images([picture]), encoder.encode_regions([picture])

    np.testing.assert_allclose(cells.grid.mean(axis=(0, 1)), whole.pooled, atol=1e-4)


class Dangerous:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.witness}",)


def test_weights_that_would_run_code_are_refused_and_run_nothing(tmp_path: Path) -> None:
    witness, weights = tmp_path / "witness", tmp_path / "weights.pth"
    torch.save({"_fc.weight": Dangerous(witness)}, weights)

    with pytest.raises(Exception, match="Weights only load failed"):
        load(source(weights, tmp_path))

    assert not witness.exists()


def test_it_needs_a_weight_file(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="names no weight file"):
        load(source(None, tmp_path))
