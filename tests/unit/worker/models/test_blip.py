"""BLIP beyond its parity with transformers: lengths, padding, candidates, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ModelFailed, ModelUnavailable
from tests.parity.tiny_language import SIDE, tiny_blip_captioner, tiny_blip_vqa
from tests.parity.tiny_weights import noisy
from worker.models import blip
from worker.models.blip import BlipAnswerer, BlipCaptioner
from worker.models.capabilities import CaptionRequest, ModelCard, Question
from worker.models.runtimes.network import Place
from worker.models.sources import Source

CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")
PICTURES = noisy(SIDE, 8)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    tiny_blip_captioner(folder)
    return folder


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    tiny_blip_vqa(folder)
    return folder


def loaded(folder: Path, capability: str, dtype: Any = None, **options: Any) -> Any:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return blip.load(
        Source(
            capability=capability,
            card=CARD,
            weights=None,
            folder=folder,
            over={},
            place=place,
            options=options,
            dtype=dtype,
        )
    )


@pytest.fixture(scope="module")
def captioner(captions: Path) -> BlipCaptioner:
    model: BlipCaptioner = loaded(captions, "Captioner")
    return model


@pytest.fixture(scope="module")
def answerer(answers: Path) -> BlipAnswerer:
    model: BlipAnswerer = loaded(answers, "Answerer")
    return model


def test_the_capability_tells_captioner_from_answerer(
    captioner: BlipCaptioner, answerer: BlipAnswerer
) -> None:
    assert isinstance(captioner, BlipCaptioner)
    assert isinstance(answerer, BlipAnswerer)
    assert (captioner.view.width, captioner.view.fit) == (SIDE, "stretch")


def test_a_captioners_weights_do_not_answer(captions: Path) -> None:
    with pytest.raises(ModelUnavailable, match="missing"):
        loaded(captions, "Answerer")


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_sentence_is_no_longer_than_its_request_allows(captioner: BlipCaptioner, most: int) -> None:
    long, short = captioner.caption(
        [CaptionRequest(PICTURES[4], "日本", 30), CaptionRequest(PICTURES[4], "日本", most)]
    )
    assert len(captioner._words.ids(short.text, 99)) <= most
    assert long.text.startswith(short.text)
    assert len(long.text) > len(short.text)


@pytest.mark.parametrize("prompt", ["a photo " * 500, "x" * 100_000, "\x00\x07", "日本語 🐈", "   "])
def test_any_prompt_is_taken(captioner: BlipCaptioner, prompt: str) -> None:
    requests = [CaptionRequest(PICTURES[0], prompt, 256), CaptionRequest(PICTURES[1], None, 3)]
    together = captioner.caption(requests)
    assert together == [captioner.caption([request])[0] for request in requests]


def test_a_caption_gives_no_account_of_itself(captioner: BlipCaptioner) -> None:
    (caption,) = captioner.caption([CaptionRequest(PICTURES[0], "the", 5)])
    assert caption.text.startswith("the")
    assert caption.evidence == ()


def test_padding_behind_a_short_question_changes_no_answer(answerer: BlipAnswerer) -> None:
    short = Question(PICTURES[0], "who?", ("a man", "a woman", "a child"))
    long = Question(PICTURES[1], "where is the small red boat that stands behind the old bridge", ())
    (alone,) = answerer.answer([short])
    beside, _ = answerer.answer([short, long])
    np.testing.assert_allclose([score for _, score in beside], [score for _, score in alone], atol=1e-5)


def test_every_candidate_is_ranked_and_nothing_else(answerer: BlipAnswerer) -> None:
    animals = ("cat", "dog", "horse", "child", "man")
    colours = ("red", "green", "blue", "white", "black")
    candidates = tuple(f"{colour} {animal}" for colour in colours for animal in animals) * 7
    (ranked,) = answerer.answer([Question(PICTURES[0], "what is this?", candidates)])
    assert sorted(answer for answer, _ in ranked) == sorted(candidates)
    assert sum(score for _, score in ranked) == pytest.approx(1)
    assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    # They are more than go into one batch; those that stand in both are scored alike.
    alike = [score for answer, score in ranked if answer == candidates[0]]
    assert alike == pytest.approx([alike[0]] * 7)


def test_candidates_of_one_question_do_not_touch_those_of_another(answerer: BlipAnswerer) -> None:
    questions = [
        Question(PICTURES[0], "who?", ("man", "woman")),
        Question(PICTURES[1], "who?", ("dog", "cat")),
    ]
    for one, found in zip(questions, answerer.answer(questions), strict=True):
        assert {answer for answer, _ in found} == set(one.candidates)
        np.testing.assert_allclose(
            [score for _, score in found], [score for _, score in answerer.answer([one])[0]]
        )


@pytest.mark.parametrize("text", ["what " * 2000, "x" * 100_000, "\x00\x07", "日本語 🐈", ""])
def test_any_question_and_candidate_is_taken(answerer: BlipAnswerer, text: str) -> None:
    free, chosen = answerer.answer(
        [Question(PICTURES[0], text, ()), Question(PICTURES[0], "who?", (text, "cat"))]
    )
    assert all(0 <= score <= 1 for _, score in (*free, *chosen))
    assert {answer for answer, _ in chosen} == {text, "cat"}


def test_more_beams_give_more_alternatives(answers: Path) -> None:
    question = Question(PICTURES[0], "what is this?", ())
    (one,) = loaded(answers, "Answerer", beams=1).answer([question])
    (many,) = loaded(answers, "Answerer", beams=6).answer([question])
    assert len(one) == 1
    assert len(many) > 2
    assert sum(score for _, score in many) <= 1


def test_weights_that_are_no_numbers_write_nothing(captions: Path, answers: Path) -> None:
    writer, speaker = loaded(captions, "Captioner"), loaded(answers, "Answerer")
    for model in (writer, speaker):
        model._network.text_decoder.cls.predictions.bias.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        writer.caption([CaptionRequest(PICTURES[0], None, 5)])
    for candidates in ((), ("cat", "dog")):
        with pytest.raises(ModelFailed, match="not finite"):
            speaker.answer([Question(PICTURES[0], "who?", candidates)])


def test_of_nothing_comes_nothing(captioner: BlipCaptioner, answerer: BlipAnswerer) -> None:
    assert captioner.caption([]) == []
    assert answerer.answer([]) == []


def test_they_warm_up_and_say_their_precision(captions: Path, answerer: BlipAnswerer) -> None:
    half = loaded(captions, "Captioner", dtype="bfloat16")
    half.warm_up()
    answerer.warm_up()
    assert (half.card.dtype, answerer.card.dtype) == ("bfloat16", "float32")
