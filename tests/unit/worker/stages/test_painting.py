"""A picture is painted step by step: others see how far it is, and a stopped job goes no further."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.direct import DirectWork, loaded, plain
from worker.models.capabilities import GenerationRequest, Generator, Pixels, StyleRequest, Stylizer
from worker.models.fake import COLOURS
from worker.pipeline import JobCanceled
from worker.stages.painting import begun_from_text, begun_in_style, painted


class StoppedWork(DirectWork):
    """Its job is cancelled after so many reports."""

    def __init__(self, reports: int) -> None:
        super().__init__(loaded("fake"), {})
        self._left = reports

    def progress(self, fraction: float, message: str = "", preview: Pixels | None = None) -> None:
        self._left -= 1
        if self._left < 0:
            raise JobCanceled
        super().progress(fraction, message, preview)


@pytest.fixture
def work() -> DirectWork:
    return DirectWork(loaded("fake"), {})


def wanted(steps: int | None) -> GenerationRequest:
    return GenerationRequest(
        prompt="something red", width=64, height=64, steps=steps, seed=7, image=None, strength=1.0
    )


def generated(work: DirectWork, steps: int | None) -> Pixels:
    return painted(work, Generator, begun_from_text(work, wanted(steps)))


def previews(work: DirectWork) -> int:
    return sum(shown for _, _, shown in work.reports)


def test_each_step_is_a_request_of_its_own(work: DirectWork) -> None:
    generated(work, 3)

    assert work.calls == ["Generator.begin", *["Generator.advance"] * 3, "Generator.render"]


def test_every_step_is_reported(work: DirectWork) -> None:
    generated(work, 3)

    assert [message for _, message, _ in work.reports] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]
    assert [fraction for fraction, _, _ in work.reports] == pytest.approx([1 / 3, 2 / 3, 1])


def test_the_picture_is_what_the_last_step_leaves(work: DirectWork) -> None:
    pixels = generated(work, 5)

    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), COLOURS["red"], atol=4)


def test_a_model_may_know_its_own_number_of_steps(work: DirectWork) -> None:
    canvas = begun_from_text(work, wanted(None))
    painted(work, Generator, canvas)

    assert work.calls.count("Generator.advance") == canvas.steps


def test_a_style_is_painted_as_a_text_is(work: DirectWork) -> None:
    request = StyleRequest(image=plain(COLOURS["red"]), style="blue", style_image=None, strength=1.0, steps=2)
    pixels = painted(work, Stylizer, begun_in_style(work, request))

    assert work.calls == ["Stylizer.begin", "Stylizer.advance", "Stylizer.advance", "Stylizer.render"]
    np.testing.assert_array_equal(pixels, plain(COLOURS["blue"]))


@pytest.mark.parametrize(("steps", "shown"), [(4, 0), (10, 9), (40, 19), (100, 19), (200, 19), (1000, 99)])
def test_previews_are_few_and_never_far_apart_and_none_is_of_the_last_step(
    work: DirectWork, steps: int, shown: int
) -> None:
    generated(work, steps)

    assert previews(work) == shown
    assert not work.reports[-1][2]


def test_a_cancelled_job_takes_no_further_step() -> None:
    work = StoppedWork(reports=2)

    with pytest.raises(JobCanceled):
        generated(work, 40)

    assert work.calls.count("Generator.advance") == 3


def test_jobs_take_turns_between_steps() -> None:
    """What the engine can interleave is requests: no call holds more than one step of one canvas."""
    held: list[int] = []

    class Watching(DirectWork):
        def map(self, operation: Any, items: Any) -> list[Any]:
            held.append(len(items))
            return super().map(operation, items)

    generated(Watching(loaded("fake"), {}), 6)

    assert set(held) == {1}
