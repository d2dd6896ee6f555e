"""The joint space is fitted once, and puts pictures beside their words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import BadConfiguration
from tests.direct import loaded
from worker.models import conse
from worker.models.capabilities import ImageFeatures, ModelCard
from worker.models.fake import FakeImageEncoder, FakeTextEncoder, Pace
from worker.models.runtimes.network import Place
from worker.models.sources import Source

CARD = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")


class LinearFake(FakeImageEncoder):
    """The fake encoder with a last layer that can be read."""

    def class_weights(self) -> Any:
        return np.random.default_rng(3).normal(size=(len(self.vocabulary), self.dim)).astype(np.float32)


class CountingText(FakeTextEncoder):
    """Counts the texts it was asked for."""

    texts = 0

    def encode_texts(self, texts: Any) -> Any:
        self.texts += len(texts)
        return super().encode_texts(texts)


def source(text: Any, image: Any, folder: Path) -> Source:
    over = {"TextEncoder": text, "ImageEncoder": image}
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(capability="JointEncoder", card=CARD, weights=None, over=over, place=place)


@pytest.fixture
def text() -> CountingText:
    return CountingText(CARD, Pace())


@pytest.fixture
def image() -> LinearFake:
    return LinearFake(CARD, Pace())


def test_the_second_start_fits_nothing(tmp_path: Path, text: CountingText, image: LinearFake) -> None:
    first = conse.load(source(text, image, tmp_path))
    fitted = text.texts
    second = conse.load(source(text, image, tmp_path))

    assert fitted > 0
    assert text.texts == fitted
    assert np.array_equal(first.vocabulary_vectors, second.vocabulary_vectors)


def test_a_damaged_cache_is_fitted_anew(tmp_path: Path, text: CountingText, image: LinearFake) -> None:
    first = conse.load(source(text, image, tmp_path))
    fitted = text.texts
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])

    second = conse.load(source(text, image, tmp_path))

    assert text.texts == 2 * fitted
    assert np.array_equal(first.vocabulary_vectors, second.vocabulary_vectors)


def test_other_weights_below_are_fitted_anew(tmp_path: Path, text: CountingText, image: LinearFake) -> None:
    conse.load(source(text, image, tmp_path))
    conse.load(source(text, LinearFake(dataclasses.replace(CARD, revision="2"), Pace()), tmp_path))

    assert len(list(tmp_path.iterdir())) == 2


def test_an_image_encoder_without_a_linear_layer_is_a_wrong_pairing(
    tmp_path: Path, text: CountingText
) -> None:
    with pytest.raises(BadConfiguration, match="linear last layer"):
        conse.load(source(text, FakeImageEncoder(CARD, Pace()), tmp_path))


@pytest.fixture
def starter() -> Any:
    return loaded("starter")


@pytest.mark.parametrize("label", ["goldfish", "espresso", "space shuttle", "umbrella"])
def test_a_picture_of_a_class_is_near_its_name(starter: Any, label: str) -> None:
    vocabulary = starter["ImageEncoder"].vocabulary
    index = vocabulary.index(label)
    certain = np.zeros(len(vocabulary), dtype=np.float32)
    certain[index] = 1
    features = ImageFeatures(
        pooled=np.maximum(starter["ImageEncoder"].class_weights()[index], 0), probabilities=certain
    )

    (vector,) = starter["JointEncoder"].project_images([features])
    texts = np.stack(starter["JointEncoder"].embed_texts([label, "a tax return", "music"]))

    assert (texts @ vector).argmax() == 0
    assert texts[0] @ vector > 0.5


def test_texts_are_centred_as_the_labels_are(starter: Any) -> None:
    """Uncentred, every two short texts look alike; centred, two unrelated ones are near right angles."""
    plain = np.stack(starter["TextEncoder"].encode_texts(["a cat", "a volcano", "a violin"]))
    joint = np.stack(starter["JointEncoder"].embed_texts(["a cat", "a volcano", "a violin"]))
    others = ~np.eye(3, dtype=bool)

    assert (joint @ joint.T)[others].mean() < (plain @ plain.T)[others].mean()


def test_its_card_names_both_weights_and_where_it_runs(starter: Any) -> None:
    card = starter["JointEncoder"].card

    assert card.revision.count("sha256:") == 2
    assert card.device == "cpu"
    assert card.runtime == "numpy"


def test_it_passes_on_what_the_text_encoder_prepares_and_knows(starter: Any) -> None:
    text, joint = starter["TextEncoder"], starter["JointEncoder"]

    (tokens,) = joint.prepare("embed_texts", ["a cat"])

    assert tokens.ids == text.prepare("encode_texts", ["a cat"])[0].ids
    assert joint.batch_limits == {"embed_texts": text.batch_limits["encode_texts"]}


def test_over_a_plain_text_encoder_it_prepares_nothing(
    tmp_path: Path, text: CountingText, image: LinearFake
) -> None:
    joint = conse.load(source(text, image, tmp_path))
    texts = ["a cat"]

    assert joint.prepare("embed_texts", texts) is texts
    assert joint.batch_limits == {}
