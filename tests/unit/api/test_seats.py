from __future__ import annotations

import pytest

from api.seats import Seats
from shared.jobs import TenantId

A, B, C = (TenantId(name) for name in "abc")


def _fill(seats: Seats, owner: TenantId) -> int:
    count = 0
    while seats.take(owner):
        count += 1
    return count


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_seats_are_all_for_one_who_is_alone(count: int) -> None:
    assert _fill(Seats(count), A) == count


def test_one_tenant_leaves_some_for_others() -> None:
    seats = Seats(1_000)

    assert _fill(seats, A) == 800
    assert _fill(seats, B) == 160
    assert _fill(seats, C) == 32


def test_two_who_take_turns_get_the_same() -> None:
    seats = Seats(900)
    held = {A: 0, B: 0}
    for _ in range(1_000):
        for owner in held:
            held[owner] += seats.take(owner)

    assert held == {A: 400, B: 400}


def test_a_seat_that_is_left_can_be_taken() -> None:
    seats = Seats(1)
    assert seats.take(A)
    assert not seats.take(B)

    seats.leave(A)

    assert seats.take(B)
    assert seats.taken() == 1
