"""Which items form the next batch, with the time told by the test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from shared.schemas.base import Words
from worker.engine import BatchLimits, Ticket
from worker.engine.batching import Lane, Lanes
from worker.engine.requests import Request, bucket


class Model:
    def run(self, items: Any) -> Any: ...

    def walk(self, items: Any) -> Any: ...


MODEL: Any = Model()


def request(*items: Any, alone: bool = False, operation: Any = Model.run) -> Request:
    return Request(MODEL, operation, items, Ticket(alone=alone))


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
    assert [leave(waiting) for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]


def test_texts_in_a_batch_are_sorted_by_length() -> None:
    waiting = lanes()
    waiting.add(request("ccc", "a", "dddd", "bb"), 0.0)
    assert leave(waiting) == ["a", "bb", "ccc", "dddd"]


def test_a_rare_operation_is_not_starved_by_one_that_is_always_full() -> None:
    waiting = lanes(patience=timedelta(seconds=1))
    waiting.add(request(*range(10_000)), 0.0)
    waiting.add(request(-1, operation=Model.walk), 0.0)
    batches = [leave(waiting, now * 0.5) for now in range(6)]
    assert [-1] in batches


def test_of_two_fresh_lanes_the_fuller_goes_first() -> None:
    waiting = lanes()
    waiting.add(request(-1, operation=Model.walk), 0.0)
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
    assert waiting.requests == {stays}
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
