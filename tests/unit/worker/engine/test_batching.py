"""Which items form the next batch, with the time told by the test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from shared.jobs import Priority
from shared.schemas.base import Words
from worker.engine import BatchLimits, Ticket
from worker.engine.batching import Lanes
from worker.engine.items import bucket
from worker.engine.lanes import Lane
from worker.engine.requests import Request


def request(
    *items: Any,
    alone: bool = False,
    operation: str = "Model.run",
    best_batch: int | None = None,
    priority: Priority = Priority.NORMAL,
) -> Request:
    return Request(operation, items, Ticket(alone=alone, priority=priority), best_batch=best_batch)


def lanes(**limits: Any) -> Lanes:
    return Lanes(BatchLimits(**{"max_items": 4, "max_wait": timedelta(seconds=10), **limits}))


def leave(waiting: Lanes, now: float = 0.0) -> list[Any]:
    """Take the next batch; return its items."""
    lane = waiting.next(now, company=False)
    assert isinstance(lane, Lane)
    return [slot.item for slot in waiting.take(lane, now)]


def test_nothing_waits_so_nothing_leaves() -> None:
    assert lanes().next(0.0, company=True) is None


def test_a_large_request_is_cut_over_several_batches() -> None:
    waiting = lanes()
    waiting.add(request(*range(10)), 0.0)
    assert [leave(waiting) for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_small_request_is_not_starved_by_a_large_one() -> None:
    waiting = lanes()
    waiting.add(request(*range(10_000)), 0.0)
    waiting.add(request("small"), 1.0)
    waiting.add(request(-1), 1.0)
    assert -1 in leave(waiting, 2.0)


def test_even_shares_for_everyone_and_the_rest_for_whoever_has_more() -> None:
    waiting = lanes(max_items=8)
    waiting.add(request(1), 0.0)
    waiting.add(request(*range(10, 20)), 0.0)
    waiting.add(request(*range(20, 30)), 0.0)
    batch = leave(waiting)
    assert 1 in batch
    assert len([item for item in batch if 10 <= item < 20]) in (3, 4)
    assert len(batch) == 8


def test_who_found_no_place_in_a_batch_comes_first_in_the_next() -> None:
    waiting = lanes(max_items=2)
    for item in range(6):
        waiting.add(request(item, item + 10), 0.0)
    assert [leave(waiting) for _ in range(3)] == [[0, 1], [10, 2], [11, 3]]


def test_requests_that_came_together_do_not_all_end_together() -> None:
    waiting = lanes(max_items=8)
    for start in (100, 200, 300, 400):
        waiting.add(request(*range(start, start + 16)), 0.0)
    batches = [leave(waiting) for _ in range(8)]
    ends = [
        max(
            number
            for number, batch in enumerate(batches)
            if any(start <= item < start + 16 for item in batch)
        )
        for start in (100, 200, 300, 400)
    ]
    assert len(set(ends)) >= 3


def test_texts_in_a_batch_are_sorted_by_length() -> None:
    waiting = lanes()
    waiting.add(request("ccc", "a", "dddd", "bb"), 0.0)
    assert leave(waiting) == ["a", "bb", "ccc", "dddd"]


def test_a_rare_operation_is_not_starved_by_one_that_is_always_full() -> None:
    waiting = lanes(patience=timedelta(seconds=1))
    waiting.add(request(*range(10_000)), 0.0)
    waiting.add(request(-1, operation="Model.walk"), 0.0)
    batches = [leave(waiting, now * 0.5) for now in range(6)]
    assert [-1] in batches


def test_of_two_fresh_lanes_the_fuller_goes_first() -> None:
    waiting = lanes()
    waiting.add(request(-1, operation="Model.walk"), 0.0)
    waiting.add(request(1, 2, 3), 0.0)
    assert leave(waiting) == [1, 2, 3]


def test_in_company_a_partial_batch_waits_until_its_oldest_item_has_waited_enough() -> None:
    waiting = lanes()
    waiting.add(request(1), 100.0)
    waiting.add(request(2), 104.0)
    assert waiting.next(105.0, company=True) == pytest.approx(5.0)
    assert isinstance(waiting.next(110.0, company=True), Lane)


def test_in_company_a_full_batch_does_not_wait() -> None:
    waiting = lanes()
    waiting.add(request(1, 2, 3, 4), 0.0)
    assert isinstance(waiting.next(0.0, company=True), Lane)


def test_without_company_nothing_waits() -> None:
    waiting = lanes()
    waiting.add(request(1), 0.0)
    assert isinstance(waiting.next(0.0, company=False), Lane)


def test_an_alone_request_does_not_wait_for_company() -> None:
    waiting = lanes()
    waiting.add(request(1, alone=True), 0.0)
    assert isinstance(waiting.next(0.0, company=True), Lane)


def test_once_an_alone_request_has_begun_nothing_else_leaves_before_it_ends() -> None:
    waiting = lanes(patience=timedelta(seconds=1))
    alone = request(*range(6), "x", alone=True)
    waiting.add(alone, 0.0)
    begun = leave(waiting, 5.0)
    waiting.add(request(*range(100, 104)), 5.0)
    later = [leave(waiting, 1000.0) for _ in range(3)]
    assert sorted(map(str, begun + later[0] + later[1])) == ["0", "1", "2", "3", "4", "5", "x"]
    assert later[2] == [100, 101, 102, 103]


def test_others_go_on_when_an_alone_request_is_dropped_halfway() -> None:
    waiting = lanes()
    alone = request(*range(6), alone=True)
    waiting.add(alone, 0.0)
    leave(waiting)
    waiting.add(request(7), 0.0)
    waiting.drop(alone)
    assert leave(waiting) == [7]


def test_a_dropped_request_leaves_its_neighbours() -> None:
    waiting = lanes()
    gone, stays = request(1, 2), request(3)
    waiting.add(gone, 0.0)
    waiting.add(stays, 0.0)
    waiting.drop(gone)
    assert waiting.waiting == 1
    assert waiting.jobs == 1
    assert leave(waiting) == [3]


def test_a_safe_size_holds_for_who_waits_and_who_comes() -> None:
    waiting = lanes()
    waiting.add(request(1, 2, 3, 4), 0.0)
    lane = waiting.next(0.0, company=False)
    assert isinstance(lane, Lane)
    waiting.remember_safe(lane.kind, 2)
    assert leave(waiting) == [1, 2]
    assert leave(waiting) == [3, 4]
    waiting.add(request(5, 6, 7, alone=True), 0.0)
    assert leave(waiting) == [5, 6]


def test_an_operation_may_have_its_own_limit() -> None:
    limits = BatchLimits(max_items=4, per_operation={"TextEncoder.encode_texts": 64})
    assert (limits.of("TextEncoder.encode_texts"), limits.of("ImageEncoder.encode_images")) == (64, 4)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)),
        (np.zeros(2, np.uint8), np.zeros(2, np.float32)),
        ("text", 1),
        ((np.zeros(2), "question"), (np.zeros(3), "question")),
    ],
)
def test_unlike_items_have_unlike_buckets(one: Any, other: Any) -> None:
    assert bucket(one) != bucket(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)),
        ("short", "a much longer text"),
        (Words("from a user"), "from a vocabulary"),
        ((np.zeros(2), "a"), (np.ones(2), "b")),
    ],
)
def test_like_items_share_a_bucket(one: Any, other: Any) -> None:
    assert bucket(one) == bucket(other)


def test_unlike_items_never_share_a_batch() -> None:
    waiting = lanes()
    waiting.add(request(1, "one", 2, "two"), 0.0)
    assert sorted([leave(waiting), leave(waiting)], key=str) == [["one", "two"], [1, 2]]


def test_in_company_a_batch_leaves_when_the_burst_it_came_with_is_over() -> None:
    waiting = lanes(max_items=100)
    for now in range(4):
        waiting.add(request(now), float(now))
    seconds = waiting.next(3.0, company=True)
    assert isinstance(seconds, float)
    assert 1.0 < seconds < 7.0
    assert isinstance(waiting.next(3.0 + seconds, company=True), Lane)


def test_in_company_nothing_waits_for_an_operation_that_is_asked_for_rarely() -> None:
    waiting = lanes()
    for now in (0.0, 100.0):
        waiting.add(request(now), now)
        leave(waiting, now)
    waiting.add(request("rare"), 200.0)
    assert isinstance(waiting.next(200.0, company=True), Lane)


def test_how_often_one_operation_is_asked_for_says_nothing_of_another() -> None:
    waiting = lanes()
    for now in (0.0, 100.0):
        waiting.add(request(now), now)
        leave(waiting, now)
    waiting.add(request(1, operation="Model.walk"), 200.0)
    assert waiting.next(200.0, company=True) == pytest.approx(10.0)


def test_a_long_request_of_texts_is_cut_into_batches_of_like_length() -> None:
    waiting = lanes(max_items=2)
    waiting.add(request("dddd", "a", "eeeee", "bb", "ccc", "ffffff"), 0.0)
    assert [leave(waiting) for _ in range(3)] == [["a", "bb"], ["ccc", "dddd"], ["eeeee", "ffffff"]]


class Tokens(list[int]):
    """What a model may make of a text."""

    padded = True


def test_padded_items_are_one_kind_and_sorted_like_texts() -> None:
    waiting = lanes()
    waiting.add(request(Tokens([1, 2, 3]), Tokens([4])), 0.0)
    waiting.add(request(Tokens([5, 6])), 0.0)
    assert leave(waiting) == [[4], [5, 6], [1, 2, 3]]


@pytest.mark.parametrize(
    ("per_operation", "best", "expected"),
    [({}, None, 8), ({}, 4, 4), ({}, 64, 8), ({"Model.run": 16}, 4, 16), ({"Model.run": 2}, None, 2)],
)
def test_a_model_knows_its_best_batch_which_is_capped_and_may_be_overridden(
    per_operation: dict[str, int], best: int | None, expected: int
) -> None:
    waiting = lanes(max_items=8, per_operation=per_operation)
    waiting.add(request(*range(100), best_batch=best), 0.0)
    assert len(leave(waiting)) == expected


@pytest.mark.parametrize(
    ("shape", "expected"), [((10, 10, 3), 3), ((5, 10, 3), 4), ((30, 30, 3), 1), ((10, 10), 4)]
)
def test_a_batch_of_pictures_keeps_to_its_budget_of_pixels(shape: tuple[int, ...], expected: int) -> None:
    waiting = lanes(max_items=4, max_pixels=300)
    waiting.add(request(*(np.zeros(shape, np.uint8) for _ in range(10))), 0.0)
    assert len(leave(waiting)) == expected


def test_pictures_inside_tuples_count_towards_the_budget_of_pixels() -> None:
    waiting = lanes(max_items=4, max_pixels=300)
    waiting.add(request(*((np.zeros((10, 10, 3), np.uint8), "question") for _ in range(10))), 0.0)
    assert len(leave(waiting)) == 3


def test_a_safe_size_never_raises_a_smaller_limit() -> None:
    waiting = lanes(max_items=16)
    waiting.add(request(*range(16)), 0.0)
    lane = waiting.next(0.0, company=False)
    assert isinstance(lane, Lane)
    waiting.take(lane, 0.0)
    waiting.remember_safe(lane.kind, 8)
    waiting.add(request(*range(16), best_batch=4), 0.0)
    waiting.remember_safe(lane.kind, 12)
    assert len(leave(waiting)) == 4
    for _ in range(3):
        leave(waiting)
    waiting.add(request(*range(16)), 0.0)
    assert len(leave(waiting)) == 8


def test_the_jobs_that_wait_are_counted_once_each() -> None:
    waiting = lanes(max_items=2)
    ticket = Ticket()
    first, second = Request("Model.run", [1, 2], ticket), Request("Model.walk", [3], ticket)
    for one in (first, second, request(4)):
        waiting.add(one, 0.0)
    assert waiting.jobs == 2
    waiting.drop(first)
    assert waiting.jobs == 2
    waiting.drop(second)
    assert (waiting.jobs, waiting.waiting) == (1, 1)
    leave(waiting)
    assert (waiting.jobs, waiting.waiting) == (0, 0)


def test_what_has_left_a_lane_fills_no_later_batch() -> None:
    waiting = lanes(max_items=4)
    waiting.add(request(*range(6)), 0.0)
    assert len(leave(waiting)) == 4
    assert waiting.waiting == 2
    assert waiting.next(0.0, company=True) == pytest.approx(10.0)


def test_a_step_of_high_priority_overtakes_one_of_low_that_came_first() -> None:
    waiting = lanes()
    waiting.add(request("low", operation="Generator.advance", priority=Priority.LOW), 0.0)
    waiting.add(request("normal", operation="Model.embed"), 0.1)
    waiting.add(request("high", operation="Stylizer.advance", priority=Priority.HIGH), 0.2)

    assert [leave(waiting, 0.3) for _ in range(3)] == [["high"], ["normal"], ["low"]]


def test_a_step_of_low_priority_is_served_in_the_end() -> None:
    waiting = lanes()
    waiting.add(request("low", operation="Generator.advance", priority=Priority.LOW), 0.0)
    served = []
    for tenth in range(40):
        now = tenth / 10
        waiting.add(request(tenth, operation="Stylizer.advance", priority=Priority.HIGH), now)
        served.append(leave(waiting, now))

    assert 15 <= served.index(["low"]) <= 25


def test_in_one_lane_the_more_urgent_job_leaves_first() -> None:
    waiting = lanes(max_items=2)
    waiting.add(request(3, priority=Priority.LOW), 0.0)
    waiting.add(request(2), 0.1)
    waiting.add(request(1, priority=Priority.HIGH), 0.2)

    assert leave(waiting, 0.3)[0] == 1


def test_requests_that_name_other_numbers_of_texts_share_a_batch() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    assert bucket((picture, "a", ("cat", "dog"))) == bucket((picture, "b", ()))
    assert bucket((picture, "a", None)) != bucket((picture, "a", "b"))
