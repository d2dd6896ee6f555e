"""How fast the workers are, from what they announce."""

from __future__ import annotations

from typing import Any

import pytest

from api.rates import DrainRate
from shared.jobs import Json, WorkerId


def announced(worker: str, at_s: float, **settled: int) -> tuple[WorkerId, Json]:
    return WorkerId(worker), {"clock_s": at_s, "outcomes": {"settled": settled, "fenced": 0}}


def rate_of(*announcements: list[tuple[WorkerId, Json]]) -> DrainRate:
    rate = DrainRate()
    for workers in announcements:
        rate.note(workers)
    return rate


def test_nothing_is_known_before_the_second_announcement() -> None:
    assert DrainRate().per_second() is None
    assert rate_of([announced("w1", 10, default=500)]).per_second() is None


def test_the_rate_is_what_ended_between_two_announcements_of_each_worker_by_its_own_clock() -> None:
    rate = rate_of(
        [announced("w1", 10, default=500), announced("w2", 7000, default=0, gpu=0)],
        [announced("w1", 20, default=530), announced("w2", 7010, default=10, gpu=5)],
    )

    assert rate.per_second("default") == pytest.approx(4.0)
    assert rate.per_second("gpu") == pytest.approx(0.5)
    assert rate.per_second() == pytest.approx(4.5)
    assert rate.per_second("other") is None


def test_looks_between_two_announcements_change_nothing() -> None:
    same = [announced("w1", 20, default=30)]
    rate = rate_of([announced("w1", 10, default=0)], same, same, same)

    assert rate.per_second() == pytest.approx(3.0)


def test_a_worker_that_has_nothing_to_do_is_not_slow() -> None:
    rate = rate_of(*([announced("w1", 10 * n, default=min(100 * n, 300))] for n in range(50)))

    assert rate.per_second() == pytest.approx(10.0)


def test_a_worker_that_got_slower_is_found_out_and_one_that_got_faster_at_once() -> None:
    counts = [0, 1000, *(1000 + 10 * n for n in range(1, 60))]
    rate = rate_of(*([announced("w1", 10 * n, default=count)] for n, count in enumerate(counts)))
    assert rate.per_second() == pytest.approx(1.0, rel=0.05)

    rate.note([announced("w1", 10 * len(counts), default=counts[-1] + 500)])

    assert rate.per_second() == pytest.approx(50.0)


def test_a_long_silence_between_two_announcements_says_nothing() -> None:
    rate = rate_of([announced("w1", 0, default=0)], [announced("w1", 3600, default=100)])

    assert rate.per_second() is None


def test_a_worker_that_has_gone_does_nothing_any_more() -> None:
    rate = rate_of([announced("w1", 0, default=0)], [announced("w1", 10, default=100)], [])

    assert rate.per_second() is None


@pytest.mark.parametrize("info", [{}, {"clock_s": 1.0}, {"outcomes": {"settled": {}}}, {"clock_s": "x"}])
def test_a_worker_of_another_release_may_count_nothing(info: dict[str, Any]) -> None:
    assert rate_of([(WorkerId("w1"), info)], [(WorkerId("w1"), info)]).per_second() is None
