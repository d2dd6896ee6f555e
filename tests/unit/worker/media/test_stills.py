"""Which few of a shot's frames are kept, however long it is."""

from __future__ import annotations

from itertools import pairwise

import pytest

from worker.media.stills import Spread


def spread(moments: int, step_s: float = 0.2, capacity: int = 8) -> Spread[int]:
    kept: Spread[int] = Spread(capacity, step_s)
    for index in range(moments):
        if kept.wants(index * step_s):
            kept.put(index * step_s, index)
    return kept


@pytest.mark.parametrize("moments", [1, 2, 7, 8, 9, 100, 1000, 12_345])
def test_the_nearest_to_the_middle_is_near_the_middle(moments: int) -> None:
    length = (moments - 1) * 0.2

    time_s, index = spread(moments).nearest(length / 2)

    assert time_s == pytest.approx(index * 0.2)
    assert abs(time_s - length / 2) <= max(0.1, length / 8) + 1e-9


@pytest.mark.parametrize("moments", [8, 100, 12_345])
def test_no_more_is_kept_than_there_is_room_for(moments: int) -> None:
    kept = set(spread(moments).evenly(1000))

    assert len(kept) <= 8


@pytest.mark.parametrize("moments", [9, 100, 1000])
def test_a_clip_is_even_and_goes_from_the_first_to_the_last(moments: int) -> None:
    clip = spread(moments, capacity=32).evenly(16)
    steps = [after - before for before, after in pairwise(clip)]

    assert len(clip) == 16
    assert clip[0] == 0
    assert clip[-1] > moments * 0.9 - 1
    assert max(steps) <= moments / 8 + 1


def test_a_clip_of_a_single_frame_repeats_it() -> None:
    assert spread(1).evenly(4) == [0, 0, 0, 0]


def test_a_cut_parts_what_is_before_it_from_what_is_after() -> None:
    kept = spread(8)

    later = kept.cut(1.0)

    assert kept.evenly(5) == [0, 1, 2, 3, 4]
    assert later.evenly(3) == [5, 6, 7]
    assert not later.wants(1.5)
    assert later.wants(1.6)


def test_a_cut_behind_the_last_moment_leaves_nothing_for_the_next() -> None:
    kept = spread(3)

    assert kept.cut(5.0).wants(5.0)
    assert kept.evenly(3) == [0, 1, 2]
