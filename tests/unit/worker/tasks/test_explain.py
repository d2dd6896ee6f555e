"""`explain` shows where in a picture a text is, and which of its words decide."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.schemas.explain import ExplainInput, ExplainResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.capabilities import Explanation, ExplanationRequest
from worker.models.fake import COLOURS, Pace
from worker.models.fake_seeing import FakeExplainer
from worker.tasks.explain import PIPELINE


class Unmoved(FakeExplainer):
    """Finds no text anywhere."""

    def explain(self, requests: Sequence[ExplanationRequest]) -> list[Explanation]:
        found = super().explain(requests)
        return [dataclasses.replace(one, heat=np.zeros_like(one.heat)) for one in found]


@pytest.fixture
def work() -> DirectWork:
    halves = plain(COLOURS["red"], 400, 200)
    halves[:, 200:] = COLOURS["blue"]
    pictures = {"halves": halves, "large": plain(COLOURS["red"], 3000, 1500), "dot": plain((1, 1, 1), 1, 1)}
    return DirectWork(loaded("fake"), {name: png(pixels) for name, pixels in pictures.items()})


def explain(work: DirectWork, text: str, picture: str = "halves") -> ExplainResult:
    task_input = ExplainInput.model_validate({"image": {"part": picture}, "text": text})
    result: ExplainResult = run(PIPELINE, work, task_input)
    return result


def drawn(work: DirectWork, name: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(work.artifacts[name][1])))


def test_the_region_is_where_the_text_is(work: DirectWork) -> None:
    result = explain(work, "the red one")

    (region,) = result.regions
    assert region.box == (0, 0, 200, 200)
    assert region.score == pytest.approx(1)
    assert (result.width, result.height) == (400, 200)


def test_the_word_that_decides_weighs_most(work: DirectWork) -> None:
    tokens = explain(work, "the red one").tokens

    assert [one.token for one in tokens] == ["the", "red", "one"]
    assert max(tokens, key=lambda one: one.weight).token == "red"


def test_both_artifacts_are_pictures_with_the_heat_where_it_is(work: DirectWork) -> None:
    explain(work, "blue")

    assert {name: kind for name, (kind, _) in work.artifacts.items()} == {
        "heatmap": "image/png",
        "overlay": "image/jpeg",
    }
    heat, over = drawn(work, "heatmap"), drawn(work, "overlay")
    assert heat.shape == over.shape == (200, 400, 3)
    assert heat[:, 300:].mean() > heat[:, :100].mean() + 100
    assert np.abs(over[:, :100].astype(int) - COLOURS["red"]).max() < 30
    assert np.abs(over[:, 300:].astype(int) - COLOURS["blue"]).max() > 60


@pytest.fixture
def unmoved() -> DirectWork:
    halves = plain(COLOURS["red"], 400, 200)
    halves[:, 200:] = COLOURS["blue"]
    model = Unmoved(loaded("fake")["Explainer"].card, Pace())
    return DirectWork({"Explainer": model}, {"halves": png(halves)})


def test_a_text_that_is_nowhere_has_no_region_and_leaves_the_picture_as_it_is(unmoved: DirectWork) -> None:
    assert explain(unmoved, "green").regions == []

    over = drawn(unmoved, "overlay").astype(int)
    assert np.abs(over[:, :190] - COLOURS["red"]).max() < 30
    assert np.abs(over[:, 210:] - COLOURS["blue"]).max() < 30


def test_a_large_picture_is_drawn_smaller_and_its_regions_are_not(work: DirectWork) -> None:
    (region,) = explain(work, "red", "large").regions

    assert region.box == (0, 0, 3000, 1500)
    assert drawn(work, "heatmap").shape == drawn(work, "overlay").shape == (512, 1024, 3)


def test_one_pixel_is_a_picture(work: DirectWork) -> None:
    result = explain(work, "red", "dot")

    assert (result.width, result.height) == (1, 1)
    assert drawn(work, "heatmap").shape == (1, 1, 3)
