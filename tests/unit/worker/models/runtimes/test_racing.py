"""What is measured decides: the best rate wins, with the smallest batch that reaches it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from worker.models.runtimes import racing
from worker.models.runtimes.network import Operation, Place
from worker.models.runtimes.racing import race, winner


class Clock:
    """Goes forward only when a network runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self, *_: Any) -> float:
        return self.now


class Paced:
    """A network that takes so long for a batch."""

    def __init__(self, clock: Clock, seconds: Any, largest: int = 10_000) -> None:
        self.clock = clock
        self.seconds = seconds
        self.largest = largest
        self.sizes: list[int] = []

    def __call__(self, rows: Any) -> Any:
        if len(rows) > self.largest:
            raise RuntimeError("out of memory")
        self.sizes.append(len(rows))
        self.clock.now += self.seconds(len(rows))
        return (rows,)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(racing, "_clock", clock)
    monkeypatch.setattr(racing, "_SECONDS_A_SIZE", 0.0)
    return clock


def raced(**networks: Any) -> Any:
    operation: Any = Operation(
        name="x",
        revision="",
        version=1,
        build=None,  # type: ignore[arg-type]  # nothing is built
        sample=lambda items: (np.zeros(items),),
        varying=(),
    )
    return race(operation, networks, Place(device="cpu", threads=1, cache_dir=None))  # type: ignore[arg-type]


def test_where_larger_batches_gain_they_are_tried(clock: Clock) -> None:
    rates = raced(a=Paced(clock, lambda items: 0.02 + 0.0001 * items))

    assert winner(rates) == ("a", 256)


def test_where_they_gain_nothing_the_smallest_that_pays_for_its_call_is_taken(clock: Clock) -> None:
    network = Paced(clock, lambda items: 0.003 * items)

    _, batch = winner(raced(a=network))

    assert batch == 8
    assert max(network.sizes) < 128


def test_a_long_call_ends_the_race(clock: Clock) -> None:
    network = Paced(clock, lambda items: 0.2)

    raced(a=network)

    assert set(network.sizes) == {1}


def test_a_hopeless_one_runs_no_second_size(clock: Clock) -> None:
    slow = Paced(clock, lambda items: 0.01 * items)

    rates = raced(fast=Paced(clock, lambda items: 0.001 * items), slow=slow)

    assert set(slow.sizes) == {1}
    assert winner(rates)[0] == "fast"


def test_too_little_memory_ends_the_race(clock: Clock) -> None:
    rates = raced(a=Paced(clock, lambda items: 0.01, largest=8))

    assert winner(rates) == ("a", 8)


def test_a_network_that_cannot_take_one_item_is_an_error(clock: Clock) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        raced(a=Paced(clock, lambda items: 0.01, largest=0))
