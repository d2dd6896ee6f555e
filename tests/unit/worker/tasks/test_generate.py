"""`generate` makes a picture from a text: the same from the same seed, as large as was asked for."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.errors import NotOffered
from shared.schemas.generate import GenerateInput, GenerateResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.capabilities import Pixels
from worker.models.fake import COLOURS
from worker.tasks import generate as task
from worker.tasks.generate import PIPELINE


@pytest.fixture
def work() -> DirectWork:
    return DirectWork(loaded("fake"), {"blue": png(plain(COLOURS["blue"], 300, 100))})


def generate(work: DirectWork, **fields: Any) -> GenerateResult:
    task_input = GenerateInput.model_validate({"prompt": "a red door"} | fields)
    result: GenerateResult = run(PIPELINE, work, task_input)
    return result


def picture(work: DirectWork) -> Pixels:
    media_type, content = work.artifacts["image"]
    image = Image.open(io.BytesIO(content))
    assert media_type == "image/png"
    assert image.format == "PNG"
    return np.asarray(image)


def test_the_picture_shows_what_the_text_says(work: DirectWork) -> None:
    result = generate(work, seed=1)

    np.testing.assert_allclose(picture(work).mean(axis=(0, 1)), COLOURS["red"], atol=4)
    assert result.steps == work.calls.count("Generator.advance")


def test_the_same_seed_gives_the_same_picture(work: DirectWork) -> None:
    generate(work, seed=3)
    first = picture(work)
    generate(work, seed=3)
    second = picture(work)
    generate(work, seed=4)
    third = picture(work)

    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_a_seed_that_was_drawn_is_told_and_gives_the_picture_again(work: DirectWork) -> None:
    result = generate(work)
    first = picture(work)
    generate(work, seed=result.seed)

    np.testing.assert_array_equal(first, picture(work))
    assert generate(work).seed != result.seed


def test_a_seed_that_was_drawn_may_be_sent(work: DirectWork) -> None:
    for _ in range(64):
        GenerateInput(prompt="x", seed=generate(work, steps=1).seed)


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({}, (64, 64)),
        ({"width": 128}, (128, 128)),
        ({"height": 96}, (96, 96)),
        ({"width": 128, "height": 72}, (128, 72)),
        ({"width": 512}, (512, 512)),
    ],
)
def test_it_is_as_large_as_was_asked_for(
    work: DirectWork, asked: dict[str, int], made: tuple[int, int]
) -> None:
    result = generate(work, steps=1, **asked)

    assert (result.width, result.height) == made
    assert picture(work).shape == (made[1], made[0], 3)


class WideGenerator:
    """Knows best how to make pictures of 2:1."""

    size = 128, 64
    largest = 256


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({"width": 256}, (256, 128)),
        ({"height": 80}, (160, 80)),
        ({"height": 72}, (144, 72)),
        ({"width": 72}, (72, 64)),
        ({"height": 256}, (256, 256)),
    ],
)
def test_a_side_that_is_not_given_keeps_the_models_own_shape_within_its_bounds(
    asked: dict[str, int], made: tuple[int, int]
) -> None:
    work = DirectWork({"Generator": WideGenerator()}, {})  # type: ignore[dict-item]  # its size is all that is read

    extracted = task.extract(work, GenerateInput.model_validate({"prompt": "x"} | asked))

    assert (extracted.width, extracted.height) == made


@pytest.mark.parametrize("side", ["width", "height"])
def test_a_side_beyond_the_models_is_not_offered(work: DirectWork, side: str) -> None:
    with pytest.raises(NotOffered, match=f"{side} is 520 px.* 512 px") as caught:
        generate(work, **{side: 520})

    assert [problem.pointer for problem in caught.value.problems] == [f"/input/{side}"]
    assert not work.calls


def test_a_picture_to_start_from_is_cut_to_the_size(work: DirectWork) -> None:
    generate(work, init_image={"part": "blue"}, width=128, height=64, strength=0.0)

    np.testing.assert_array_equal(picture(work), plain(COLOURS["blue"], 128, 64))


def test_strength_is_how_far_it_goes_from_there(work: DirectWork) -> None:
    reds = []
    for strength in (0.0, 0.5, 1.0):
        generate(work, init_image={"part": "blue"}, strength=strength, seed=1)
        reds.append(float(picture(work)[..., 0].mean()))

    assert reds[0] < reds[1] < reds[2]


def test_it_previews_and_counts_its_steps(work: DirectWork) -> None:
    generate(work, steps=20)

    assert any(shown for _, _, shown in work.reports)
    assert work.reports[-1][:2] == (1.0, "step 20 of 20")
