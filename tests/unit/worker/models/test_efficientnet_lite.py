"""The picture encoder knows a cat, and reads weights as data only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import BadConfiguration, ModelFailed
from shared.settings import Limits
from tests.direct import loaded
from worker.media.images import decode
from worker.models.capabilities import ModelCard
from worker.models.efficientnet_lite import EfficientNetLite, load
from worker.models.runtimes.network import Place
from worker.models.runtimes.tuning import Tuning
from worker.models.sources import Source

PHOTOS = Path(__file__).parents[4] / "client" / "demo" / "photos"
CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}


@pytest.fixture
def encoder() -> Any:
    return loaded("starter")["ImageEncoder"]


def source(weights: Path | None, folder: Path) -> Source:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(capability="ImageEncoder", card=card, weights=weights, over={}, place=place)


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


class Broken:
    """A network whose second picture is too much for it."""

    runtime, dtype, fingerprint = "eager", "float32", ""

    def __call__(self, pixels: Any) -> Any:
        rows = np.ones((len(pixels), 4), dtype=np.float32)
        rows[1:2, 0] = np.nan
        return rows, rows


@pytest.mark.parametrize("operation", ["encode_images", "encode_regions"])
def test_a_batch_with_an_answer_that_is_no_number_fails(encoder: Any, operation: str) -> None:
    tuning: Any = Tuning(network=Broken(), batch=1)  # type: ignore[arg-type]  # a stand-in
    broken = EfficientNetLite(
        encoder.card, images=tuning, regions=tuning, vocabulary=[], class_weights=encoder.class_weights
    )
    black = np.zeros((8, 8, 3), dtype=np.uint8)

    assert len(getattr(broken, operation)([black])) == 1
    with pytest.raises(ModelFailed, match="not finite"):
        getattr(broken, operation)([black, black])
