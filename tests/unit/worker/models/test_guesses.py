"""From guesses to objects: an order, a threshold, the picture's edges."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import ModelFailed
from tests.direct import plain
from worker.models.capabilities import DetectionRequest
from worker.models.guesses import alike, detections

BOX = [0.1, 0.2, 0.3, 0.4]


def asked(threshold: float = 0.0, most: int = 10) -> DetectionRequest:
    return DetectionRequest(image=plain((0, 0, 0)), labels=(), threshold=threshold, max_objects=most)


def test_the_surest_come_first_and_equals_stay_in_order() -> None:
    found = detections(asked(), ["a", "b", "c"], np.array([0.5, 0.9, 0.5]), np.array([BOX] * 3))

    assert [one.label for one in found] == ["b", "a", "c"]


def test_a_score_at_the_threshold_counts_and_one_below_does_not() -> None:
    found = detections(asked(0.5), ["a", "b"], np.array([0.5, 0.49]), np.array([BOX] * 2))

    assert [one.label for one in found] == ["a"]


def test_a_box_is_cut_at_the_edges_and_one_beyond_them_makes_room_for_the_next() -> None:
    boxes = np.array([[1.1, 0.0, 1.2, 1.0], [-0.5, 0.5, 0.5, 1.5], BOX])

    found = detections(asked(most=2), ["out", "over", "in"], np.array([0.9, 0.8, 0.7]), boxes)

    assert [one.label for one in found] == ["over", "in"]
    assert found[0].box == (0.0, 0.5, 0.5, 1.0)


@pytest.mark.parametrize("place", [0, 1])
def test_numbers_that_are_not_finite_are_refused(place: int) -> None:
    scores, boxes = np.array([0.5]), np.array([BOX])
    (scores, boxes)[place][0] = np.nan

    with pytest.raises(ModelFailed, match="not finite"):
        detections(asked(), ["a"], scores, boxes)


def test_pictures_of_one_shape_are_put_together_in_order() -> None:
    images = [plain((0, 0, 0), *size) for size in [(4, 4), (5, 4), (4, 4)]]

    assert alike(images) == [[0, 2], [1]]
