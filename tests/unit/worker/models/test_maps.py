"""Maps have their heat where a text is, and their spots count things."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.direct import loaded
from tests.quality.composed import in_view, photo
from worker.models.maps import VIEW, box_of, cells_of, classes_meant, heat, scaled, smooth, spots


def hills(*tops: tuple[int, int, float], size: int = 14) -> Any:
    """Return a map with a round hill at each (row, column, height)."""
    rows, columns = np.mgrid[:size, :size]
    return np.max(
        [height * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 6) for row, column, height in tops],
        axis=0,
    ).astype(np.float32)


@pytest.fixture
def starter() -> Any:
    return loaded("starter")


@pytest.mark.parametrize(
    "tops", [[(6, 6, 1.0)], [(6, 2, 1.0), (6, 11, 0.8)], [(1, 1, 1), (1, 12, 1), (12, 6, 1)]]
)
def test_there_are_as_many_spots_as_hills_hottest_first(tops: list[tuple[int, int, float]]) -> None:
    found = spots(hills(*tops))

    assert [spot.peak for spot in found] == [(row, column) for row, column, _ in tops]
    assert [spot.heat for spot in found] == pytest.approx([height for _, _, height in tops])


def test_a_low_hill_is_no_spot() -> None:
    assert len(spots(hills((6, 2, 1.0), (6, 11, 0.3)))) == 1


def test_two_hills_with_no_valley_between_are_one_spot() -> None:
    assert len(spots(hills((6, 5, 1.0), (6, 8, 0.9)))) == 1


def test_a_box_holds_its_spot_and_no_more() -> None:
    (spot,) = spots(hills((3, 10, 1.0)))
    x0, y0, x1, y1 = spot.box

    assert x0 < 10.5 / 14 < x1
    assert y0 < 3.5 / 14 < y1
    assert spot.box == box_of(spot.mask)
    assert (x1 - x0) * (y1 - y0) <= 0.25


def test_a_map_without_heat_has_no_spots() -> None:
    cold = np.zeros((5, 7), dtype=np.float32)

    assert spots(cold) == []
    assert not scaled(cold).any()


def test_a_map_of_one_cell_is_one_spot() -> None:
    (spot,) = spots(np.ones((1, 1), dtype=np.float32))

    assert spot.box == (0.0, 0.0, 1.0, 1.0)


def test_every_cell_of_a_uniform_picture_is_as_cold_as_the_others() -> None:
    vectors = np.tile(np.array([0.6, 0.8], dtype=np.float32), (4, 4, 1))

    assert not heat(np.array([1, 0], dtype=np.float32), vectors).any()


def test_heat_is_where_the_cells_fit_best() -> None:
    vectors = np.tile(np.array([0, 1], dtype=np.float32), (4, 4, 1))
    vectors[1, 2] = (1, 0)

    found = heat(np.array([1, 0], dtype=np.float32), vectors)

    assert found[1, 2] == 1
    assert (found > 0).sum() == 1


def test_smoothing_keeps_the_sum_away_from_the_edge() -> None:
    one = np.zeros((5, 5), dtype=np.float32)
    one[2, 2] = 1

    assert smooth(one).sum() == pytest.approx(1)
    assert smooth(one)[2, 2] == pytest.approx(0.25)


def test_a_text_means_the_classes_of_its_name(starter: Any) -> None:
    joint, vocabulary = starter["JointEncoder"], list(starter["ImageEncoder"].vocabulary)
    (cat,) = joint.embed_texts(["cat"])

    meant = classes_meant(cat, joint.vocabulary_vectors)

    assert meant[vocabulary.index("Egyptian cat")] > 0.9
    assert meant[vocabulary.index("espresso")] < 0.01


def test_pictures_of_any_shape_keep_theirs_and_answer_alike_alone_and_together(starter: Any) -> None:
    wide = in_view(photo("orchestra.jpg"), VIEW)
    pictures = [wide, wide[:, :200], np.zeros((1, 1, 3), np.uint8), np.zeros((3, 640, 3), np.uint8), wide]
    image, joint = starter["ImageEncoder"], starter["JointEncoder"]

    together = cells_of(image, joint, pictures)
    alone = [cells_of(image, joint, [picture])[0] for picture in pictures]

    assert [cells.shape for cells in together] == [(11, 18), (19, 10), (14, 14), (7, 28), (11, 18)]
    for one, other in zip(together, alone, strict=True):
        assert np.allclose(one.grids[0], other.grids[0], atol=1e-4)
        assert np.allclose(one.features.grid, other.features.grid, atol=1e-3)
