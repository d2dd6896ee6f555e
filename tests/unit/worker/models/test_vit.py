"""ViT beyond its parity with transformers: what it offers, takes and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ModelFailed, ModelUnavailable
from tests.parity.tiny_encoders import LABELS, SIDE, tiny_siglip, tiny_vit
from tests.parity.tiny_weights import noisy
from worker.models import conse, vit
from worker.models.capabilities import ImageEncoder, JointEncoder, ModelCard
from worker.models.fake import FakeTextEncoder, Pace
from worker.models.runtimes.network import Place
from worker.models.sources import Source
from worker.models.vit import Vit

CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    tiny_vit(folder)
    return folder


def source(folder: Path, **given: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    settled = {"capability": "ImageEncoder", "card": CARD, "weights": None, "over": {}, "place": place}
    return Source(**{**settled, "folder": folder, **given})


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Vit:
    return vit.load(source(folder))


def test_it_is_an_image_encoder_with_the_checkpoints_labels(encoder: Vit) -> None:
    assert isinstance(encoder, ImageEncoder)
    assert list(encoder.vocabulary) == LABELS
    assert (encoder.dim, encoder.card.dtype) == (32, "float32")
    assert (encoder.view.width, encoder.view.fit, encoder.region_view.fit) == (SIDE, "stretch", "stretch")


def test_cells_lie_as_the_picture_does(encoder: Vit) -> None:
    """A change at the top left is felt most in the first cell, before attention carries it on."""
    (picture,) = noisy(SIDE, 1)
    changed = picture.copy()
    changed[:8, 8:16] = 255 - changed[:8, 8:16]
    one, other = encoder.encode_regions([picture, changed])
    change = np.abs(one.grid - other.grid).sum(axis=2)
    assert np.unravel_index(change.argmax(), change.shape) == (0, 1)


def test_a_joint_space_stands_over_it(folder: Path, encoder: Vit, tmp_path: Path) -> None:
    over = {"TextEncoder": FakeTextEncoder(CARD, Pace()), "ImageEncoder": encoder}
    place = Place(device="cpu", threads=1, cache_dir=tmp_path)
    joint = conse.load(source(folder, capability="JointEncoder", over=over, place=place))
    assert isinstance(joint, JointEncoder)
    (vector,) = joint.project_images(encoder.encode_images(noisy(SIDE, 1)))
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)


def test_half_precision_stays_close_and_says_so(folder: Path, encoder: Vit) -> None:
    half = vit.load(source(folder, dtype="bfloat16"))
    assert half.card.dtype == "bfloat16"
    found, expected = (one.encode_images(noisy(SIDE, 2)) for one in (half, encoder))
    for one, other in zip(found, expected, strict=True):
        assert one.pooled.dtype == one.probabilities.dtype == np.float32
        assert one.probabilities.sum() == pytest.approx(1, abs=1e-4)
        assert np.abs(one.pooled - other.pooled).max() < 0.1 * np.abs(other.pooled).max()


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    tiny_siglip(tmp_path)
    with pytest.raises(ModelUnavailable, match="this backend runs vit"):
        vit.load(source(tmp_path))


def test_weights_that_are_no_numbers_answer_nothing(folder: Path) -> None:
    broken = vit.load(source(folder))
    broken._network.classifier.weight.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        broken.encode_images(noisy(SIDE, 1))


@pytest.mark.parametrize("operation", ["encode_images", "encode_regions"])
def test_of_nothing_comes_nothing(encoder: Vit, operation: str) -> None:
    assert getattr(encoder, operation)([]) == []


def test_it_warms_up_and_leaves_batch_sizes_on_a_cpu_to_the_engine(encoder: Vit) -> None:
    encoder.warm_up()
    assert encoder.batch_limits == {}
