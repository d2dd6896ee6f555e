"""The explainer's heat is on what a text names, and its tokens say which words do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import BadConfiguration
from tests.direct import loaded, plain
from tests.quality.composed import composed, in_view, photo
from worker.models import map_explainer
from worker.models.capabilities import Explainer, Explanation, ExplanationRequest, ModelCard
from worker.models.runtimes.network import Place
from worker.models.sources import Source


@pytest.fixture
def explainer() -> Any:
    return loaded("starter")["Explainer"]


def request_of(explainer: Explainer, pixels: Any, text: str) -> ExplanationRequest:
    return ExplanationRequest(image=in_view(pixels, explainer.view), text=text)


def explained(explainer: Explainer, pixels: Any, text: str) -> Explanation:
    return explainer.explain([request_of(explainer, pixels, text)])[0]


def test_the_heat_moves_with_the_text(explainer: Explainer) -> None:
    pixels = composed("cat.jpg", "coffee.jpg").pixels

    cat = explained(explainer, pixels, "a cat").heat
    coffee = explained(explainer, pixels, "a cup of coffee").heat
    half = cat.shape[1] // 2

    assert cat[:, :half].sum() > 3 * cat[:, half:].sum()
    assert coffee[:, half:].sum() > 3 * coffee[:, :half].sum()


def test_the_heat_is_scaled(explainer: Explainer) -> None:
    heat = explained(explainer, photo("dog.jpg"), "a dog").heat

    assert heat.dtype == np.float32
    assert heat.max() == 1
    assert heat.min() == 0


def test_a_text_that_fits_scores_higher(explainer: Explainer) -> None:
    pixels = photo("coffee.jpg")

    assert explained(explainer, pixels, "an espresso").score > 0.3
    assert explained(explainer, pixels, "a tax return").score < 0.1


def test_the_words_come_in_order_and_the_one_that_counts_weighs_most(explainer: Explainer) -> None:
    tokens = explained(explainer, photo("cat.jpg"), "the ginger cat, on a  wall").tokens

    assert [token for token, _ in tokens] == ["the", "ginger", "cat,", "on", "a", "wall"]
    assert max(tokens, key=lambda token: token[1])[0] == "cat,"


def test_a_token_weighs_what_the_score_loses_without_it(explainer: Explainer) -> None:
    pixels = photo("cat.jpg")

    whole = explained(explainer, pixels, "sleepy cat")
    without = explained(explainer, pixels, "sleepy")

    assert whole.tokens[1][1] == pytest.approx(whole.score - without.score, abs=1e-4)


def test_a_single_word_weighs_the_whole_score(explainer: Explainer) -> None:
    found = explained(explainer, photo("cat.jpg"), "猫が寝ている")

    assert found.tokens == [("猫が寝ている", pytest.approx(found.score))]


def test_a_long_text_keeps_all_its_words(explainer: Explainer) -> None:
    words = [f"word{index}" for index in range(100)]

    assert [token for token, _ in explained(explainer, photo("cat.jpg"), " ".join(words)).tokens] == words


def test_each_pair_is_explained_alike_alone_and_in_a_batch(explainer: Explainer) -> None:
    requests = [
        request_of(explainer, photo("cat.jpg"), "a cat"),
        request_of(explainer, photo("orchestra.jpg"), "people with violins on a stage"),
        request_of(explainer, plain((200, 30, 30), 1, 1), "x"),
        request_of(explainer, photo("cat.jpg"), "a dog"),
    ]

    together = explainer.explain(requests)

    for one, request in zip(together, requests, strict=True):
        (alone,) = explainer.explain([request])
        assert one.score == pytest.approx(alone.score, abs=1e-4)
        assert np.allclose(one.heat, alone.heat, atol=1e-3)
        assert one.tokens == [(token, pytest.approx(weight, abs=1e-4)) for token, weight in alone.tokens]


def test_nothing_asked_nothing_explained(explainer: Explainer) -> None:
    assert explainer.explain([]) == []


def test_without_encoders_it_does_not_load(tmp_path: Path) -> None:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    place = Place(device="cpu", threads=1, cache_dir=tmp_path)

    with pytest.raises(BadConfiguration, match="JointEncoder"):
        map_explainer.load(Source(capability="Explainer", card=card, weights=None, over={}, place=place))
