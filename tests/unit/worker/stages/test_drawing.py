"""Heat and boxes are drawn where they are, whatever the picture's size and the label's script."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.direct import plain
from worker.stages.drawing import Marked, annotated, heat_map, overlay

GREY = (120, 120, 120)


def left_half(rows: int = 4, columns: int = 4) -> Any:
    heat = np.zeros((rows, columns), dtype=np.float32)
    heat[:, : columns // 2] = 1
    return heat


def changed(drawn: Any, picture: Any) -> Any:
    return (drawn != picture).any(axis=2)


def test_a_heat_map_has_the_size_asked_for_and_is_bright_where_it_is_hot() -> None:
    drawn = heat_map(left_half(), 60, 40)

    assert drawn.shape == (40, 60, 3)
    assert drawn[:, :15].mean() > 180
    assert drawn[:, 45:].mean() < 40


def test_colours_grow_lighter_with_the_heat() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(2, axis=0)

    lightness = heat_map(ramp, 64, 2)[0] @ np.array([0.2126, 0.7152, 0.0722])

    assert (np.diff(lightness) >= -0.5).all()


def test_the_overlay_leaves_alone_what_is_cold() -> None:
    picture = plain(GREY, 80, 40)

    drawn = overlay(picture, left_half())

    assert changed(drawn, picture)[:, :30].all()
    assert not changed(drawn, picture)[:, 60:].any()


def test_without_heat_the_overlay_is_the_picture() -> None:
    picture = plain(GREY, 30, 20)

    assert np.array_equal(overlay(picture, np.zeros((14, 14), dtype=np.float32)), picture)


def test_a_box_is_drawn_at_its_edges_and_not_inside() -> None:
    picture = plain(GREY, 400, 400)

    drawn = annotated(picture, [Marked("cat 0.90", "cat", (0.25, 0.25, 0.75, 0.75))])

    assert changed(drawn, picture)[100:104, 100:300].all()
    assert changed(drawn, picture)[296:300, 100:300].all()
    assert not changed(drawn, picture)[110:290, 110:290].any()
    assert changed(drawn, picture)[60:100, 100:150].any()
    assert np.array_equal(picture, plain(GREY, 400, 400))


def test_kinds_have_colours_of_their_own_and_one_kind_has_one() -> None:
    marks = [
        Marked("", kind, (x, 0.5, x + 0.2, 0.9)) for kind, x in (("cat", 0.0), ("dog", 0.3), ("cat", 0.6))
    ]
    drawn = annotated(plain(GREY, 300, 300), marks)

    cat, dog, other_cat = (tuple(drawn[200, x + 1]) for x in (0, 90, 180))

    assert cat == other_cat
    assert np.abs(np.subtract(cat, dog, dtype=int)).sum() > 200


def test_without_marks_the_picture_stays() -> None:
    assert np.array_equal(annotated(plain(GREY), []), plain(GREY))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5, 5), (1024, 1024)])
@pytest.mark.parametrize("text", ["", "cat", "猫が寝ている", "🐈‍⬛", "a\nb\tc", "ñandú", "word " * 800])
def test_any_label_fits_any_picture(size: tuple[int, int], text: str) -> None:
    marks = [Marked(text, text, (0.1, 0.1, 0.1001, 0.1001)), Marked(text, "x", (0.9, 0.9, 1.0, 1.0))]

    drawn = annotated(plain(GREY, *size), marks)

    assert drawn.shape == (size[1], size[0], 3)
    assert changed(drawn, plain(GREY, *size)).any()


def test_a_long_label_is_cut_and_leaves_most_of_the_picture_free() -> None:
    picture = plain(GREY, 500, 500)

    drawn = annotated(picture, [Marked("a very long label " * 20, "x", (0.1, 0.5, 0.2, 0.6))])

    assert not changed(drawn, picture)[:, 370:].any()


def test_labels_of_one_place_stand_below_each_other() -> None:
    box = (0.2, 0.5, 0.8, 0.9)
    picture = plain(GREY, 400, 400)

    drawn = annotated(picture, [Marked("cat 0.90", "cat", box), Marked("dog 0.80", "dog", box)])
    colours = {tuple(pixel) for pixel in drawn[150:260, 83]}

    assert len([colour for colour in colours if max(colour) == 255]) == 2
