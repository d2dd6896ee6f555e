"""The detector's boxes lie on what a label names, one for each; what is not there has none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import BadConfiguration
from tests.direct import loaded, plain
from tests.quality.composed import composed, in_view, photo
from worker.media.views import View
from worker.models import map_detector
from worker.models.boxes import apart, cut_out, overlap
from worker.models.capabilities import Detection, DetectionRequest, ModelCard
from worker.models.runtimes.network import Place
from worker.models.sources import Source


@pytest.fixture
def detector() -> Any:
    return loaded("starter")["OpenDetector"]


def request_of(pixels: Any, *labels: str, threshold: float | None = None, most: int = 20) -> DetectionRequest:
    image = in_view(pixels, map_detector.VIEW)
    return DetectionRequest(image=image, labels=labels, threshold=threshold, max_objects=most)


def middle(one: Detection) -> float:
    return (one.box[0] + one.box[2]) / 2


def test_each_label_is_found_on_its_own_half(detector: Any) -> None:
    (found,) = detector.find([request_of(composed("cat.jpg", "coffee.jpg").pixels, "cat", "espresso")])
    (mirrored,) = detector.find([request_of(composed("coffee.jpg", "cat.jpg").pixels, "cat", "espresso")])

    for objects, cat_is_left in ((found, True), (mirrored, False)):
        cats = [middle(one) for one in objects if one.label == "cat"]
        cups = [middle(one) for one in objects if one.label == "espresso"]
        assert cats
        assert cups
        assert all((place < 0.5) == cat_is_left for place in cats)
        assert all((place > 0.5) == cat_is_left for place in cups)


def test_two_side_by_side_are_two(detector: Any) -> None:
    pixels = photo("coffee.jpg")

    (one,) = detector.find([request_of(pixels, "espresso")])
    (two,) = detector.find([request_of(np.concatenate([pixels, pixels], axis=1), "espresso")])

    assert len(one) == 1
    assert sorted(middle(each) > 0.5 for each in two) == [False, True]


@pytest.mark.parametrize("name", ["cat.jpg", "coffee.jpg", "dog.jpg", "rocket.jpg"])
def test_what_is_not_there_is_not_found(detector: Any, name: str) -> None:
    labels = ("bus", "banana", "piano", "snowy mountain", "tax return", "laptop")

    assert detector.find([request_of(photo(name), *labels)]) == [[]]


def test_without_a_threshold_of_its_own_a_label_finds_its_best_place(detector: Any) -> None:
    (found,) = detector.find([request_of(photo("raccoon.jpg"), "bus", threshold=0.0)])

    assert found
    assert all(one.label == "bus" for one in found)


def test_scores_and_boxes_are_shares_surest_first_and_no_more_than_asked_for(detector: Any) -> None:
    labels = ("astronaut", "helmet", "flag", "space shuttle")
    (found,) = detector.find([request_of(photo("astronaut.jpg"), *labels, threshold=0.0)])
    (two,) = detector.find([request_of(photo("astronaut.jpg"), *labels, threshold=0.0, most=2)])

    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    for x0, y0, x1, y1 in (one.box for one in found):
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
    assert list(two) == list(found[:2])


def test_its_own_vocabulary_names_the_thing_once_for_each_place(detector: Any) -> None:
    (found,) = detector.detect([request_of(composed("dog.jpg", "coffee.jpg").pixels)])

    named = {one.label: middle(one) for one in found}
    assert named["German shepherd"] < 0.5
    assert named["espresso"] > 0.5
    assert named.keys() <= set(detector.vocabulary)
    for index, one in enumerate(found):
        assert all(overlap(one.box, other.box) <= 0.5 for other in found[:index])


def test_each_picture_is_answered_alike_alone_and_in_a_batch(detector: Any) -> None:
    requests = [
        request_of(photo("cat.jpg"), "cat", "dog"),
        request_of(photo("orchestra.jpg"), "violin"),
        request_of(plain((9, 9, 9), 1, 1), "night", threshold=0.0),
        request_of(photo("cat.jpg"), "cat"),
    ]

    for operation in (detector.find, detector.detect):
        for request, together in zip(requests, operation(requests), strict=True):
            (alone,) = operation([request])
            assert [(one.label, one.box) for one in together] == [(one.label, one.box) for one in alone]
            assert [one.score for one in together] == pytest.approx([one.score for one in alone], abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (640, 1), (1, 640), (33, 31)])
@pytest.mark.parametrize("label", ["x", "猫", "🐈", "word " * 500])
def test_no_picture_and_no_label_is_too_odd(detector: Any, size: tuple[int, int], label: str) -> None:
    picture = plain((255, 0, 0), *size)

    (found,) = detector.find([request_of(picture, label, threshold=0.0)])
    (named,) = detector.detect([request_of(picture, threshold=0.0)])

    for one in [*found, *named]:
        assert 0 <= one.box[0] < one.box[2] <= 1
        assert 0 <= one.box[1] < one.box[3] <= 1


def test_nothing_asked_nothing_found(detector: Any) -> None:
    assert detector.find([]) == []
    assert detector.detect([]) == []


def test_without_encoders_it_does_not_load(tmp_path: Path) -> None:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    place = Place(device="cpu", threads=1, cache_dir=tmp_path)

    with pytest.raises(BadConfiguration, match="JointEncoder"):
        map_detector.load(Source(capability="Detector", card=card, weights=None, over={}, place=place))


def boxes(*found: tuple[float, tuple[float, float, float, float]]) -> Sequence[Detection]:
    return [Detection(label="x", score=score, box=box) for score, box in found]


def test_a_part_of_a_surer_thing_is_left_out_and_a_neighbour_is_kept() -> None:
    part, whole, neighbour = boxes(
        (0.6, (0.1, 0.1, 0.2, 0.2)), (0.9, (0.0, 0.0, 0.5, 0.5)), (0.7, (0.4, 0.0, 0.9, 0.5))
    )

    assert apart([part, whole, neighbour], 0.5) == [whole, neighbour]


def test_what_is_cut_out_is_square_and_stays_inside() -> None:
    picture = np.zeros((100, 200, 3), dtype=np.uint8)
    picture[:, 100:] = 255
    view = View(width=8, height=8)

    assert cut_out(picture, (0.0, 0.4, 0.1, 0.6), 0.1, view).max() == 0
    assert cut_out(picture, (0.9, 0.0, 1.0, 0.2), 0.1, view).min() == 255
    assert cut_out(picture, (0.0, 0.0, 1.0, 1.0), 0.1, view).shape == (8, 8, 3)
