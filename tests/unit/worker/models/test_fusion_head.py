"""The trained head answers over its own labels, over the encoders that it was trained over and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from shared.errors import BadConfiguration, ModelFailed, ModelUnavailable
from tests.direct import plain
from tests.parity.tiny_classic import LABELS, tiny_fusion_head
from worker.engine.items import bucket
from worker.models import fusion_head
from worker.models.capabilities import FusionClassifier, FusionRequest, ModelCard, Prepares
from worker.models.fake import FakeImageEncoder, FakeTextEncoder, Pace
from worker.models.fusion_head import FusionHeadClassifier
from worker.models.runtimes.network import Place
from worker.models.sources import Source
from worker.models.tokens import Tokens

CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")
TEXTS = ["red", "a blue door in the evening", ""]


class PreparedText(FakeTextEncoder):
    """The fake encoder, of texts that were read before."""

    def prepare(self, method: str, items: Any) -> Any:
        assert method == "encode_texts"
        return [Tokens([ord(character) for character in text]) for text in items]

    def encode_texts(self, texts: Any) -> Any:
        read = ["".join(map(chr, text.ids)) if isinstance(text, Tokens) else text for text in texts]
        return super().encode_texts(read)


@pytest.fixture
def over() -> dict[str, Any]:
    return {"TextEncoder": PreparedText(CARD, Pace()), "ImageEncoder": FakeImageEncoder(CARD, Pace())}


@pytest.fixture
def folder(tmp_path: Path, over: dict[str, Any]) -> Path:
    return tiny_fusion_head(tmp_path, text=over["TextEncoder"].dim, image=over["ImageEncoder"].dim)


@pytest.fixture
def classifier(folder: Path, over: dict[str, Any]) -> FusionHeadClassifier:
    return fusion_head.load(source(folder, over))


def source(folder: Path, over: dict[str, Any]) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(
        capability="FusionClassifier", card=CARD, weights=None, folder=folder, over=over, place=place
    )


def pairs(classifier: FusionHeadClassifier) -> list[FusionRequest]:
    colours = ((255, 0, 0), (0, 0, 255), (128, 128, 128))
    return [
        FusionRequest(plain(colour, classifier.view.width, classifier.view.height), text)
        for colour, text in zip(colours, TEXTS, strict=True)
    ]


def test_each_pair_gets_shares_of_the_labels_that_text_and_picture_decide(
    classifier: FusionHeadClassifier,
) -> None:
    given = pairs(classifier)
    found = classifier.classify_pairs(given)
    assert isinstance(classifier, FusionClassifier)
    assert classifier.vocabulary == list(LABELS)
    for one in found:
        assert one.dtype == np.float32
        assert one.sum() == pytest.approx(1, abs=1e-5)
    for other in (given[0]._replace(text="blue"), given[0]._replace(image=given[1].image)):
        assert not np.allclose(classifier.classify_pairs([other])[0], found[0], atol=1e-3)


def test_a_pair_is_answered_alone_as_in_a_batch(classifier: FusionHeadClassifier) -> None:
    given = pairs(classifier)
    alone = [classifier.classify_pairs([one])[0] for one in given]
    np.testing.assert_allclose(classifier.classify_pairs(given), alone, atol=1e-5)
    assert classifier.classify_pairs([]) == []


def test_texts_are_prepared_as_the_encoder_below_does(classifier: FusionHeadClassifier) -> None:
    given = pairs(classifier)
    prepared = classifier.prepare("classify_pairs", given)
    assert isinstance(classifier, Prepares)
    assert all(isinstance(one.text, Tokens) for one in prepared)
    assert len({bucket(one) for one in prepared}) == 1
    np.testing.assert_array_equal(classifier.classify_pairs(prepared), classifier.classify_pairs(given))


def test_other_encoders_than_it_was_trained_over_are_refused(tmp_path: Path, over: dict[str, Any]) -> None:
    head = tiny_fusion_head(tmp_path, text=17, image=over["ImageEncoder"].dim)
    with pytest.raises(BadConfiguration, match="of 17 and"):
        fusion_head.load(source(head, over))
    with pytest.raises(BadConfiguration, match="built over"):
        fusion_head.load(source(head, {}))


def test_a_head_that_nobody_trained_is_refused(folder: Path, over: dict[str, Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name: one for name, one in tensors.items() if "value" not in name}, folder / "model.safetensors"
    )
    with pytest.raises(ModelUnavailable, match="no fusion head"):
        fusion_head.load(source(folder, over))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        fusion_head.load(source(folder, over))


@pytest.mark.parametrize(
    ("config", "error"),
    [("{}", BadConfiguration), ('{"labels": ["one"]}', BadConfiguration), ("no JSON", ModelUnavailable)],
)
def test_labels_must_be_named(
    folder: Path, over: dict[str, Any], config: str, error: type[Exception]
) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(error, match=r"config\.json"):
        fusion_head.load(source(folder, over))


def test_weights_that_are_no_numbers_answer_nothing(classifier: FusionHeadClassifier) -> None:
    classifier._head.value.weight.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        classifier.classify_pairs(pairs(classifier))
