"""SigLIP beyond its parity with transformers: what it takes, refuses and shares."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ModelFailed, ModelUnavailable
from tests.parity.tiny_encoders import SIDE, tiny_siglip
from tests.parity.tiny_weights import noisy
from worker.models import siglip
from worker.models.capabilities import ModelCard
from worker.models.runtimes.network import Place
from worker.models.siglip import Siglip
from worker.models.sources import Source

CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")
TEXTS = ["a cat", "", "日本語 🐈", "\x00\x1b", "long " * 500]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siglip")
    tiny_siglip(folder)
    return folder


def source(folder: Path, **given: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    settled = {"capability": "JointEncoder", "card": CARD, "weights": None, "over": {}, "place": place}
    return Source(**{**settled, "folder": folder, **given})


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Siglip:
    return siglip.load(source(folder))


def test_texts_are_read_in_lower_case_whatever_the_tokenizer_does(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "cased"))
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    cased = siglip.load(source(copy))
    assert np.array_equal(cased.embed_texts(["A Cat"]), cased.embed_texts(["a cat"]))


def test_every_text_fills_the_length_that_it_was_trained_with(encoder: Siglip) -> None:
    """Its vector is read at the last place: a shorter batch would move it."""
    alone = encoder.embed_texts(["a cat"])[0]
    np.testing.assert_allclose(encoder.embed_texts(["a cat", "long " * 500])[0], alone, atol=1e-5)


def test_texts_may_be_prepared_in_other_threads(encoder: Siglip) -> None:
    expected = np.stack(encoder.embed_texts(TEXTS))
    with ThreadPoolExecutor(8) as threads:
        prepared = list(threads.map(lambda _: encoder.prepare("embed_texts", TEXTS), range(20)))
    assert all(len(one) <= 64 for items in prepared for one in items)
    np.testing.assert_array_equal(np.stack(encoder.embed_texts(prepared[-1])), expected)


def test_cells_and_whole_pictures_stand_in_one_space(encoder: Siglip) -> None:
    pictures = noisy(SIDE, 2)
    whole = encoder.project_images(encoder.encode_images(pictures))
    cells = encoder.project_regions(encoder.encode_regions(pictures))
    for vectors in (*whole, *cells, *encoder.embed_texts(TEXTS), encoder.vocabulary_vectors):
        assert vectors.dtype == np.float32
        assert vectors.shape[-1] == encoder.dim == 32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-4)
    assert [one.shape for one in cells] == [(16, 32)] * 2


def test_the_whole_picture_is_seen_stretched(encoder: Siglip) -> None:
    assert (encoder.view.width, encoder.view.fit) == (SIDE, "stretch")
    assert encoder.region_view.fit == "stretch"


def test_capabilities_over_one_another_share_one_set_of_weights(folder: Path, encoder: Siglip) -> None:
    assert siglip.load(source(folder, over={"TextEncoder": encoder})) is encoder


def test_a_checkpoint_of_no_one_resolution_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "naflex"))
    (copy / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    with pytest.raises(ModelUnavailable, match="siglip2"):
        siglip.load(source(copy))


def test_half_precision_stays_close_and_says_so(folder: Path, encoder: Siglip) -> None:
    half = siglip.load(source(folder, dtype="bfloat16"))
    assert (half.card.dtype, encoder.card.dtype) == ("bfloat16", "float32")
    found, expected = (np.stack(one.embed_texts(TEXTS)) for one in (half, encoder))
    assert (found * expected).sum(axis=-1).min() > 0.99


def test_weights_that_are_no_numbers_answer_nothing(folder: Path) -> None:
    broken = siglip.load(source(folder))
    broken._network.vision_model.post_layernorm.weight.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        broken.encode_images(noisy(SIDE, 1))


@pytest.mark.parametrize(
    "operation", ["encode_texts", "embed_texts", "encode_images", "encode_regions", "project_images"]
)
def test_of_nothing_comes_nothing(encoder: Siglip, operation: str) -> None:
    assert list(getattr(encoder, operation)([])) == []


def test_it_warms_up_and_leaves_batch_sizes_on_a_cpu_to_the_engine(encoder: Siglip) -> None:
    encoder.warm_up()
    assert encoder.batch_limits == {}
