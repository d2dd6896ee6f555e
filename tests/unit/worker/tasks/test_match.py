"""`match` pairs images with texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shared.schemas.match import MatchInput, MatchResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.fake import COLOURS
from worker.tasks.match import PIPELINE


@pytest.fixture
def work() -> DirectWork:
    return DirectWork(loaded("fake"), {name: png(plain(rgb)) for name, rgb in COLOURS.items()})


def match(work: DirectWork, images: list[str], texts: list[str]) -> MatchResult:
    fields: dict[str, Any] = {"images": [{"part": name} for name in images], "texts": texts}
    result: MatchResult = run(PIPELINE, work, MatchInput.model_validate(fields))
    return result


def test_every_image_finds_its_text_and_the_reverse(work: DirectWork) -> None:
    result = match(
        work, ["red", "green", "blue"], ["a blue sea", "something else", "red wine", "green hills"]
    )

    assert result.best_texts == [2, 3, 0]
    assert [result.best_images[index] for index in (2, 3, 0)] == [0, 1, 2]


def test_scores_are_cosines_by_image_and_text(work: DirectWork) -> None:
    scores = np.array(match(work, ["red", "blue"], ["red", "a tree", "blue"]).scores)

    assert scores.shape == (2, 3)
    assert np.abs(scores).max() <= 1
    assert scores[0, 0] == pytest.approx(1, abs=1e-3)


def test_the_same_input_answers_the_same(work: DirectWork) -> None:
    assert match(work, ["red"], ["a", "b"]) == match(work, ["red"], ["a", "b"])
