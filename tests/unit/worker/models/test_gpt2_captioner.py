"""GPT-2 goes on from what the image encoder saw; how well depends on its prefix, and it says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import BadConfiguration, ModelFailed, ModelUnavailable
from tests.parity.tiny_classic import tiny_gpt2, tiny_prefix
from worker.engine.items import bucket
from worker.models import gpt2_captioner
from worker.models.capabilities import Captioner, CaptionRequest, ImageFeatures, ModelCard, Pixels
from worker.models.classic_prefix import FittedPrefix, fit_prefix
from worker.models.fake import FakeImageEncoder, Pace
from worker.models.gpt2_captioner import Gpt2Captioner
from worker.models.runtimes.network import Place
from worker.models.sources import Source

CARD = ModelCard(id="tiny", revision="1", grade="full", licence="none", device="cpu", dtype="")


class LinearFake(FakeImageEncoder):
    """The fake encoder with a last layer that can be read."""

    def class_weights(self) -> Any:
        return np.random.default_rng(3).normal(size=(len(self.vocabulary), self.dim)).astype(np.float32)


@pytest.fixture
def images() -> LinearFake:
    return LinearFake(CARD, Pace())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def writer(checkpoint: Path, images: LinearFake, tmp_path: Path) -> Gpt2Captioner:
    return gpt2_captioner.load(source(checkpoint, tmp_path, images))


def source(folder: Path, cache: Path, images: Any, **card: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=cache)
    return Source(
        capability="Captioner",
        card=dataclasses.replace(CARD, **card),
        weights=None,
        folder=folder,
        over={"ImageEncoder": images},
        place=place,
    )


def pictures(images: LinearFake, count: int) -> list[Pixels]:
    random = np.random.default_rng(7)
    shape = (count, images.view.height, images.view.width, 3)
    return list(random.integers(0, 256, shape, np.uint8))


def captions(writer: Gpt2Captioner, pictures: Sequence[Pixels], **given: Any) -> list[str]:
    fields: Any = {"prompt": None, "max_tokens": 20} | given
    return [one.text for one in writer.caption([CaptionRequest(image=one, **fields) for one in pictures])]


def test_a_sentence_begins_as_it_was_told(writer: Gpt2Captioner, images: LinearFake) -> None:
    (picture,) = pictures(images, 1)
    assert isinstance(writer, Captioner)
    assert captions(writer, [picture])[0].startswith("a photo of")
    assert captions(writer, [picture], prompt="two cats and")[0].startswith("two cats and")


def test_other_pictures_give_other_sentences(writer: Gpt2Captioner, images: LinearFake) -> None:
    red, blue = (
        np.full((images.view.height, images.view.width, 3), one, np.uint8)
        for one in ((255, 0, 0), (0, 0, 255))
    )
    assert len(set(captions(writer, [red, blue]))) == 2


def test_no_more_tokens_than_asked_for(writer: Gpt2Captioner, images: LinearFake) -> None:
    (picture,) = pictures(images, 1)
    longer = captions(writer, [picture], prompt="x", max_tokens=12)[0]
    shorter = captions(writer, [picture], prompt="x", max_tokens=3)[0]
    # A token of this checkpoint is a byte.
    assert len(shorter) <= 4 < len(longer) <= 13
    assert longer.startswith(shorter)


def test_a_sentence_holds_no_control_codes(writer: Gpt2Captioner, images: LinearFake) -> None:
    texts = captions(writer, pictures(images, 8), max_tokens=40)
    assert all(text.isprintable() for text in texts)
    assert len(set(texts)) > 1
    ids = writer._tokenizer.encode("a\0\v\x7fb").ids
    assert writer._text(ids) == "ab"


@pytest.mark.parametrize(("end", "kept"), [(".", "."), ("Ċ", ""), ("<|endoftext|>", "")])
def test_a_sentence_ends_with_its_end(
    writer: Gpt2Captioner, images: LinearFake, monkeypatch: pytest.MonkeyPatch, end: str, kept: str
) -> None:
    """Every token that GPT-2 writes is this one."""
    wanted = writer._tokenizer.token_to_id(end)
    forward = writer._network.forward
    calls = []

    def always(**given: Any) -> Any:
        out = forward(**given)
        out.logits[..., wanted] = 1e6
        calls.append(len(given["inputs_embeds"]))
        return out

    monkeypatch.setattr(writer._network, "forward", always)
    assert captions(writer, pictures(images, 2), prompt="a cat") == [f"a cat{kept}"] * 2
    assert calls == [2]


def test_a_beginning_longer_than_gpt2_reads_is_kept_whole(writer: Gpt2Captioner, images: LinearFake) -> None:
    prompt = "word " * 800
    (text,) = captions(writer, pictures(images, 1), prompt=prompt, max_tokens=8)
    assert text.startswith(prompt.rstrip())
    assert captions(writer, pictures(images, 1), prompt="other " + prompt, max_tokens=8) == [f"other {text}"]


def test_the_evidence_is_what_the_classifier_saw(writer: Gpt2Captioner, images: LinearFake) -> None:
    (picture,) = pictures(images, 1)
    (caption,) = writer.caption([CaptionRequest(picture, None, 3)])
    probabilities = images.encode_images([picture])[0].probabilities
    best = images.vocabulary[int(probabilities.argmax())]
    assert caption.evidence[0] == (best, pytest.approx(float(probabilities.max())))
    scores = [score for _, score in caption.evidence]
    assert scores == sorted(scores, reverse=True)


def test_prepared_requests_of_all_lengths_share_a_batch(writer: Gpt2Captioner, images: LinearFake) -> None:
    prompts = [None, "a", "a very long beginning indeed", ""]
    requests = [
        CaptionRequest(one, prompt, 5) for one, prompt in zip(pictures(images, 4), prompts, strict=True)
    ]
    prepared = writer.prepare("caption", requests)
    assert len({bucket(one) for one in prepared}) == 1
    assert writer.caption(prepared) == writer.caption(requests)
    assert writer.caption([]) == []


def test_a_fitted_prefix_makes_the_grade_starter(
    writer: Gpt2Captioner, checkpoint: Path, images: LinearFake, tmp_path: Path
) -> None:
    assert writer.card.grade == "starter"
    tested = gpt2_captioner.load(source(checkpoint, tmp_path, images, grade="test"))
    assert tested.card.grade == "test"


def test_a_trained_prefix_keeps_the_grade(images: LinearFake, tmp_path: Path) -> None:
    folder = tiny_prefix(tiny_gpt2(tmp_path / "gpt2"), image=images.dim)
    trained = gpt2_captioner.load(source(folder, tmp_path, FakeImageEncoder(CARD, Pace())))
    assert trained.card.grade == "full"
    assert len(set(captions(trained, pictures(images, 3)))) == 3


@pytest.mark.parametrize("wrong", [{"image": 7}, {"embedded": 31, "length": 3}, "missing"])
def test_a_prefix_that_does_not_fit_is_refused(images: LinearFake, tmp_path: Path, wrong: Any) -> None:
    folder = tiny_gpt2(tmp_path / "gpt2")
    tiny_prefix(folder, **({"image": images.dim} | (wrong if isinstance(wrong, dict) else {})))
    if wrong == "missing":
        tensors = load_file(folder / "prefix.safetensors")
        save_file({"0.weight": tensors["0.weight"]}, folder / "prefix.safetensors")
    with pytest.raises(ModelUnavailable, match="prefix"):
        gpt2_captioner.load(source(folder, tmp_path, images))


def test_the_second_start_fits_nothing(
    writer: Gpt2Captioner,
    checkpoint: Path,
    images: LinearFake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpt2_captioner, "fit_prefix", None)
    again = gpt2_captioner.load(source(checkpoint, tmp_path, images))
    given = pictures(images, 3)
    assert captions(again, given) == captions(writer, given)


def test_an_image_encoder_without_a_linear_layer_is_a_wrong_pairing(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="linear last layer"):
        gpt2_captioner.load(source(checkpoint, tmp_path, FakeImageEncoder(CARD, Pace())))


def test_weights_that_are_no_numbers_answer_nothing(writer: Gpt2Captioner, images: LinearFake) -> None:
    writer._network.transformer.ln_f.weight.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        captions(writer, pictures(images, 1))


@pytest.mark.parametrize("features", [8, 60])
def test_a_fitted_prefix_is_near_the_name_of_what_is_seen(features: int) -> None:
    random = np.random.default_rng(1)
    weights = random.normal(size=(20, features)).astype(np.float32)
    names = random.normal(size=(20, 48)).astype(np.float32) + 3
    prefix = FittedPrefix(fit_prefix(weights, names))
    certain = np.eye(20, dtype=np.float32)
    seen = [ImageFeatures(pooled=weights[one], probabilities=certain[one]) for one in range(20)]
    found = prefix.project(seen)[:, 0].numpy()
    distances = np.linalg.norm(found[:, None] - names, axis=2)
    assert (distances.argmin(axis=1) == np.arange(20)).all()
    lengths = np.linalg.norm(found - names.mean(axis=0), axis=1)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)
    assert torch.isfinite(
        prefix.project([ImageFeatures(pooled=weights[0] * 0, probabilities=certain[0])])
    ).all()
