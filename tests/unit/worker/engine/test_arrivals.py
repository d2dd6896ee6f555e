"""Whether waiting for one more is worth it, with the time told by the test."""

from __future__ import annotations

import math

import pytest

from worker.engine.arrivals import Arrivals


def after(*times: float, max_wait: float = 10.0) -> Arrivals:
    arrivals = Arrivals(max_wait)
    for now in times:
        arrivals.note(now)
    return arrivals


@pytest.mark.parametrize("times", [(), (7.0,)])
def test_too_early_to_tell_everybody_hopes(times: tuple[float, ...]) -> None:
    assert after(*times).hope_ends() == math.inf


def test_arrivals_rarer_than_the_longest_wait_give_no_hope() -> None:
    assert after(0.0, 20.0, 40.0).hope_ends() == 40.0


def test_a_burst_that_falls_silent_is_over() -> None:
    assert 30.0 < after(*(float(now) for now in range(31))).hope_ends() < 35.0


def test_a_burst_is_not_over_before_threads_could_take_their_turns() -> None:
    assert after(*(now / 1000 for now in range(100))).hope_ends() == pytest.approx(0.099 + 2.5)


def test_a_few_quick_arrivals_outweigh_a_slow_hour() -> None:
    slow = [100.0 * hour for hour in range(50)]
    assert after(*slow).hope_ends() == slow[-1]
    assert after(*slow, *(slow[-1] + 0.1 * n for n in range(1, 4))).hope_ends() > slow[-1] + 0.4
