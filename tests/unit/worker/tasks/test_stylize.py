"""`stylize` paints a picture in a style of the model's own or in that of another picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.errors import UnknownStyle
from shared.schemas.stylize import StylizeInput, StylizeResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.capabilities import Pixels
from worker.models.fake import COLOURS
from worker.tasks import stylize as task
from worker.tasks.stylize import PIPELINE

RED, BLUE = COLOURS["red"], COLOURS["blue"]


@pytest.fixture
def work() -> DirectWork:
    pictures = {"red": png(plain(RED)), "blue": png(plain(BLUE)), "wide": png(plain(RED, 200, 50))}
    return DirectWork(loaded("fake"), pictures)


def stylize(work: DirectWork, picture: str = "red", **fields: Any) -> StylizeResult:
    task_input = StylizeInput.model_validate({"image": {"part": picture}} | fields)
    result: StylizeResult = run(PIPELINE, work, task_input)
    return result


def painted(work: DirectWork) -> Pixels:
    media_type, content = work.artifacts["image"]
    image = Image.open(io.BytesIO(content))
    assert media_type == "image/png"
    assert image.format == "PNG"
    return np.asarray(image)


def test_a_picture_is_painted_in_a_named_style(work: DirectWork) -> None:
    stylize(work, style={"name": "blue"})

    np.testing.assert_array_equal(painted(work), plain(BLUE))


def test_a_picture_is_painted_in_the_style_of_another(work: DirectWork) -> None:
    stylize(work, style={"image": {"part": "blue"}})

    np.testing.assert_allclose(painted(work), plain(BLUE), atol=1)


def test_strength_zero_returns_the_picture_as_it_is(work: DirectWork) -> None:
    stylize(work, style={"name": "blue"}, strength=0.0)

    np.testing.assert_array_equal(painted(work), plain(RED))


def test_the_picture_keeps_its_shape(work: DirectWork) -> None:
    result = stylize(work, "wide", style={"name": "blue"})

    assert (result.width, result.height) == (64, 16)
    assert painted(work).shape == (16, 64, 3)


def test_as_many_steps_are_taken_as_were_asked_for(work: DirectWork) -> None:
    stylize(work, style={"name": "blue"}, steps=6)

    assert work.calls.count("Stylizer.advance") == 6


def test_an_unknown_style_is_answered_with_those_there_are(work: DirectWork) -> None:
    with pytest.raises(UnknownStyle, match=r"no style 'cubism'; there are .*blue") as caught:
        stylize(work, style={"name": "cubism"})

    assert [problem.pointer for problem in caught.value.problems] == ["/input/style/name"]
    assert not work.calls


class NamedStyles:
    """A stylizer of which only the names are asked."""

    def __init__(self, *styles: str) -> None:
        self.styles = styles


@pytest.mark.parametrize(
    ("styles", "said"),
    [
        ([f"s{number}" for number in range(35)], "s0, s1.*s29 and 5 more$"),
        ([], "none of its own; give a style image$"),
    ],
)
def test_the_answer_stays_short_however_many_styles_there_are(styles: list[str], said: str) -> None:
    work = DirectWork({"Stylizer": NamedStyles(*styles)}, {})  # type: ignore[dict-item]  # its names are all that is read

    with pytest.raises(UnknownStyle, match=said):
        task.extract(work, StylizeInput.model_validate({"image": {"part": "x"}, "style": {"name": "y"}}))
