"""Work that threads do together: who leads, who waits, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from shared.errors import InternalError, StoreUnavailable
from shared.groups import Group, Place, Take

DEADLINE_S = 20.0


class Bench:
    """A group whose server serves only when it is let, and remembers what it was given."""

    def __init__(self) -> None:
        self.patience_s = DEADLINE_S
        self.group: Group[int, int] = Group(self._serve, patience_s=lambda: self.patience_s, largest=4)
        self.served: list[list[int]] = []
        self.outcomes: dict[int, int | BaseException] = {}
        self.error: BaseException | None = None
        self._lets = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def start(self, *items: int) -> None:
        """Let a thread come with each item; return when all are there, in order."""
        for item in items:
            thread = threading.Thread(target=self._do, args=(item,))
            self._threads.append(thread)
            before = self._arrived()
            thread.start()
            eventually(lambda before=before: self._arrived() > before)

    def let(self, groups: int = 1) -> None:
        """Let so many groups be served."""
        self._lets.release(groups)

    def finish(self) -> dict[int, int | BaseException]:
        """Return each item's answer or error."""
        self.let(100)
        for thread in self._threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        return self.outcomes

    def _arrived(self) -> int:
        return len(self.group._waiting) + sum(map(len, self.served))

    def _do(self, item: int) -> None:
        try:
            self.outcomes[item] = self.group.do(item)
        except BaseException as error:  # noqa: BLE001  # what it raises is what is asked for
            self.outcomes[item] = error

    def _serve(self, take: Take[int, int]) -> None:
        places = take()
        self.served.append([place.item for place in places])
        assert self._lets.acquire(timeout=DEADLINE_S)
        if self.error is not None:
            raise self.error
        for place in places:
            place.settle(place.item * 10)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.001)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.finish()


def test_one_alone_is_served_at_once(bench: Bench) -> None:
    bench.let(2)
    assert [bench.group.do(item) for item in (1, 2)] == [10, 20]
    assert bench.served == [[1], [2]]


def test_those_who_come_meanwhile_are_served_together_in_order(bench: Bench) -> None:
    bench.start(1, 2, 3, 4)
    assert bench.finish() == {1: 10, 2: 20, 3: 30, 4: 40}
    assert bench.served == [[1], [2, 3, 4]]


def test_a_group_has_a_largest_size(bench: Bench) -> None:
    bench.start(*range(10))
    bench.finish()
    assert bench.served == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_what_serving_raises_every_one_of_the_group_raises_for_itself(bench: Bench) -> None:
    bench.start(1, 2, 3, 4)
    bench.let()
    eventually(lambda: bench.outcomes == {1: 10})
    bench.error = InternalError("broken")
    outcomes = bench.finish()
    errors = [outcomes[item] for item in (2, 3, 4)]
    assert [str(error) for error in errors] == ["broken"] * 3
    assert len(set(map(id, errors))) == 3


def test_who_cannot_begin_to_serve_sends_all_away_that_wait(bench: Bench) -> None:
    gate = threading.Event()

    def serve(_: Take[int, int]) -> None:
        gate.wait(DEADLINE_S)
        raise StoreUnavailable("gone")

    bench.group._serve = serve
    bench.start(1, 2, 3)
    gate.set()
    assert [str(error) for error in bench.finish().values()] == ["gone"] * 3


def test_a_leader_that_is_stopped_leaves_nobody_waiting(bench: Bench) -> None:
    bench.start(1, 2, 3)
    bench.let()
    eventually(lambda: bench.outcomes == {1: 10})
    bench.error = KeyboardInterrupt()
    outcomes = bench.finish()
    assert isinstance(outcomes[2], KeyboardInterrupt)
    assert isinstance(outcomes[3], StoreUnavailable)
    bench.error = None
    assert bench.group.do(7) == 70


def test_a_thread_that_is_stopped_while_it_waits_keeps_nobody_from_the_lead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(place: Place[int, int], _: float) -> bool:
        if place.item == 3:
            # Just when it came to lead.
            bench.let()
            assert place._turn.acquire(timeout=DEADLINE_S)
        raise KeyboardInterrupt

    bench.start(1)
    with monkeypatch.context() as patched:
        patched.setattr(Place, "wait", stopped)
        _start_unseen(bench, 2)
        eventually(lambda: 2 in bench.outcomes)
        _start_unseen(bench, 3)
        eventually(lambda: 3 in bench.outcomes)
    bench.let()
    assert bench.group.do(4) == 40
    assert {type(bench.outcomes[item]) for item in (2, 3)} == {KeyboardInterrupt}
    assert bench.served == [[1], [4]]


def _start_unseen(bench: Bench, item: int) -> None:
    """Let a thread come that may have left before anybody sees it wait."""
    thread = threading.Thread(target=bench._do, args=(item,))
    bench._threads.append(thread)
    thread.start()


def test_who_waits_too_long_leaves_and_is_not_served(bench: Bench) -> None:
    bench.start(1)
    bench.patience_s = 0.01
    bench.start(2)
    eventually(lambda: 2 in bench.outcomes)
    assert isinstance(bench.outcomes[2], StoreUnavailable)
    assert bench.finish()[1] == 10
    assert bench.served == [[1]]


def test_who_is_served_for_too_long_learns_that_the_outcome_is_unknown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait_in_vain(place: Place[int, int], _: float) -> bool:
        eventually(lambda: [place.item] in [served[1:] for served in bench.served])
        return False

    bench.start(1)
    bench.start(2)
    monkeypatch.setattr(Place, "wait", wait_in_vain)
    bench.start(3)
    bench.let()
    eventually(lambda: 3 in bench.outcomes)
    assert "unknown" in str(bench.outcomes[3])
    assert bench.finish()[2] == 20
