"""Colours are called what people call them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.direct import plain
from worker.models.palette import NAMES, SYNONYMS, colours, lab


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("black", (12, 10, 14)),
        ("grey", (120, 122, 118)),
        ("white", (248, 250, 246)),
        ("red", (190, 25, 30)),
        ("orange", (245, 130, 20)),
        ("yellow", (250, 225, 30)),
        ("green", (40, 140, 50)),
        ("blue", (40, 90, 200)),
        ("blue", (135, 190, 235)),
        ("purple", (120, 20, 130)),
        ("pink", (250, 150, 185)),
        ("brown", (110, 65, 30)),
        ("beige", (222, 202, 165)),
    ],
)
def test_a_plain_picture_has_its_name(name: str, colour: tuple[int, int, int]) -> None:
    assert colours(plain(colour))[0] == (name, pytest.approx(1.0))


def test_shares_are_those_of_the_pixels_and_sum_to_one() -> None:
    pixels = plain((255, 0, 0))
    pixels[:, :8] = (0, 0, 255)

    found = colours(pixels)

    assert dict(found)["red"] == pytest.approx(0.75)
    assert dict(found)["blue"] == pytest.approx(0.25)
    assert {name for name, _ in found} == set(NAMES)
    assert sum(share for _, share in found) == pytest.approx(1.0)


def test_weights_decide_which_pixels_count() -> None:
    pixels = plain((255, 0, 0))
    pixels[:, :8] = (0, 0, 255)
    weights = np.zeros((32, 32), dtype=np.float32)
    weights[:, :4] = 0.3

    assert colours(pixels, weights)[0] == ("blue", pytest.approx(1.0))


def test_without_any_weight_all_pixels_count() -> None:
    found = colours(plain((255, 0, 0)), np.zeros((32, 32), dtype=np.float32))

    assert found[0] == ("red", pytest.approx(1.0))


def test_lab_is_the_published_one() -> None:
    """Values of sRGB red, mid-grey and white as colour calculators give them."""
    found = lab(np.array([[255.0, 0.0, 0.0], [119.0, 119.0, 119.0], [255.0, 255.0, 255.0]]))

    assert found == pytest.approx(np.array([[53.24, 80.09, 67.20], [50.03, 0, 0], [100, 0, 0]]), abs=0.05)


def test_every_synonym_is_a_name() -> None:
    assert set(SYNONYMS.values()) <= set(NAMES)
