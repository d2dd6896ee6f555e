"""Regions are where a map is hot, in a picture's own pixels."""

from __future__ import annotations

import numpy as np
import pytest

from worker.stages.regions import hot_regions, in_pixels


def test_the_region_with_the_most_heat_comes_first() -> None:
    heat = np.zeros((10, 10), dtype=np.float32)
    heat[1, 1] = 1.0
    heat[6:9, 6:9] = 0.8

    wide, narrow = hot_regions(heat)

    assert wide.box == pytest.approx((0.6, 0.6, 0.9, 0.9))
    assert narrow.box == pytest.approx((0.1, 0.1, 0.2, 0.2))
    assert wide.share == pytest.approx(7.2 / 8.2)
    assert narrow.share == pytest.approx(1 / 8.2)


def test_a_cold_map_has_no_regions() -> None:
    assert hot_regions(np.zeros((4, 4), dtype=np.float32)) == []


def test_a_map_that_is_hot_all_over_is_one_region_of_all_its_heat() -> None:
    (region,) = hot_regions(np.full((7, 9), 1.0, dtype=np.float32))

    assert region.box == (0.0, 0.0, 1.0, 1.0)
    assert region.share == 1.0


def test_a_box_in_pixels_stays_inside_the_picture() -> None:
    assert in_pixels((0.25, 0.0, 0.5, 1.0), 400, 200) == (100, 0, 200, 200)
    assert in_pixels((-0.1, 0.2, 1.0001, 0.4), 10, 10) == pytest.approx((0, 2, 10, 4))
    assert in_pixels((0.2, 0.2, 0.8, 0.8), 1, 1) == pytest.approx((0.2, 0.2, 0.8, 0.8))
