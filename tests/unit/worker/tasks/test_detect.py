"""`detect` says what is where, in pixels of the picture as it was sent, and draws it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.schemas.detect import DetectInput, DetectResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.fake import COLOURS
from worker.tasks.detect import PIPELINE


@pytest.fixture
def work() -> DirectWork:
    halves = plain(COLOURS["red"], 400, 200)
    halves[:, 200:] = COLOURS["blue"]
    large = plain(COLOURS["white"], 3000, 1500)
    large[:, :1500] = COLOURS["green"]
    pictures = {"halves": halves, "large": large, "dot": plain(COLOURS["red"], 1, 1)}
    return DirectWork(loaded("fake"), {name: png(pixels) for name, pixels in pictures.items()})


def detect(work: DirectWork, picture: str = "halves", **fields: Any) -> DetectResult:
    task_input = DetectInput.model_validate({"image": {"part": picture}} | fields)
    result: DetectResult = run(PIPELINE, work, task_input)
    return result


def annotated(work: DirectWork) -> Any:
    media_type, content = work.artifacts["annotated"]
    assert media_type == "image/jpeg"
    return np.asarray(Image.open(io.BytesIO(content)))


def test_labels_are_found_where_they_are_in_pixels(work: DirectWork) -> None:
    result = detect(work, labels=["red", "blue"])

    assert {one.label: one.box for one in result.objects} == {
        "red": (0, 0, 200, 200),
        "blue": (200, 0, 400, 200),
    }
    assert (result.width, result.height) == (400, 200)
    assert work.calls == ["OpenDetector.find"]


def test_without_labels_the_model_uses_its_own_names(work: DirectWork) -> None:
    result = detect(work)

    assert {one.label for one in result.objects} == {"red", "blue"}
    assert work.calls == ["Detector.detect"]


def test_a_label_that_is_not_there_is_not_found(work: DirectWork) -> None:
    assert detect(work, labels=["green"]).objects == []
    assert annotated(work).shape == (200, 400, 3)


def test_a_label_given_twice_is_looked_for_once(work: DirectWork) -> None:
    assert len(detect(work, labels=["red", "red"]).objects) == 1


def test_threshold_and_number_reach_the_model(work: DirectWork) -> None:
    assert len(detect(work, max_objects=1).objects) == 1
    assert detect(work, threshold=1.0).objects == [
        one for one in detect(work, threshold=0.0).objects if one.score == 1.0
    ]


def test_a_large_picture_is_drawn_smaller_and_its_boxes_are_not(work: DirectWork) -> None:
    (found,) = detect(work, "large", labels=["green"]).objects

    assert found.box == (0, 0, 1500, 1500)
    drawn = annotated(work)
    assert drawn.shape == (512, 1024, 3)
    untouched = np.abs(drawn.astype(int) - COLOURS["white"]).max(axis=2)
    assert untouched[:, 600:].max() < 60
    assert (np.abs(drawn[:, 2].astype(int) - COLOURS["green"]).max(axis=1) > 60).mean() > 0.9


def test_one_pixel_is_a_picture(work: DirectWork) -> None:
    (found,) = detect(work, "dot", labels=["red"]).objects

    assert found.box == (0, 0, 1, 1)
    assert annotated(work).shape == (1, 1, 3)
