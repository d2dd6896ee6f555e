"""Whatever jobs come together, each gets exactly its own answers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ModelFailed, ModelOutOfMemory
from worker.engine import BatchLimits, Residency, Ticket
from worker.engine.batching import Lanes
from worker.engine.lanes import Lane
from worker.engine.requests import Request

POISON, GIANT = 13, 17


class Canceled(Exception):
    """The reason that this test stops a ticket with."""


@dataclass(frozen=True)
class Job:
    values: list[int | str]
    alone: bool
    stopped: bool


jobs = st.builds(
    Job,
    values=st.lists(st.integers(0, 20) | st.text("abc", max_size=8), max_size=12),
    alone=st.sampled_from([False, False, False, True]),
    stopped=st.sampled_from([False, False, False, True]),
)


def check_outcome(job: Job, items: list[Any], future: Any) -> None:
    error = future.exception(timeout=20)
    if not items or error is None:
        assert future.result() == [("echo", item) for item in items]
        assert not {POISON, GIANT}.intersection(job.values)
        assert not (items and job.stopped)
    else:
        assert isinstance(error, Canceled if job.stopped else (ModelFailed, ModelOutOfMemory))
        assert job.stopped or {POISON, GIANT}.intersection(job.values)


@patch(
    "worker.engine.execution.release_memory", lambda: None
)  # a full collection for each out-of-memory takes 0.2 s
@given(st.lists(jobs, max_size=8), st.integers(1, 7), st.none() | st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_every_request_gets_exactly_its_own_answers(
    new_bench: Any, wanted: list[Job], max_items: int, capacity: int | None
) -> None:
    bench = new_bench()
    try:
        engine = bench.engine(max_items=max_items)
        held = bench.hold(engine)
        bench.model.capacity = capacity
        requests = [[(number, value) for value in job.values] for number, job in enumerate(wanted)]
        bench.model.poison = {(number, POISON) for number in range(len(wanted))}
        bench.model.giants = {(number, GIANT) for number in range(len(wanted))}
        tickets = [Ticket(alone=job.alone) for job in wanted]
        futures = [
            bench.job(engine, items, ticket=ticket) for items, ticket in zip(requests, tickets, strict=True)
        ]
        for job, ticket in zip(wanted, tickets, strict=True):
            if job.stopped:
                ticket.stop(Canceled())
        bench.model.gate.set()

        assert held.result() == [("echo", "held")]
        for job, items, future in zip(wanted, requests, futures, strict=True):
            check_outcome(job, items, future)
        for batch in bench.model.batches[1:]:
            assert len(batch) <= max_items
            assert len({type(value) for _, value in batch}) == 1
            members = {number for number, _ in batch}
            assert len(members) == 1 or not any(wanted[number].alone for number in members)
        assert engine.stats().waiting == 0
    finally:
        bench.close()


class Shelf:
    """Loads models that are names, each of a size of its own."""

    def __init__(self, name: str, size: int, over: tuple[str, ...], keep: bool, memory: list[int]) -> None:
        self.name = name
        self.over = over
        self.keep = keep
        self._size = size
        self._memory = memory

    def load(self, _: Any) -> Any:
        self._memory.append(self._size)
        return self.name


@st.composite
def shelves(draw: st.DrawFn) -> tuple[dict[str, Shelf], list[int]]:
    memory: list[int] = []
    loaders: dict[str, Shelf] = {}
    for name in "ABCDE"[: draw(st.integers(1, 5))]:
        over = tuple(sorted(draw(st.sets(st.sampled_from(sorted(loaders)), max_size=2)))) if loaders else ()
        loaders[name] = Shelf(name, draw(st.integers(0, 9)), over, draw(st.integers(0, 3)) == 0, memory)
    return loaders, memory


def may_go(one: Any, residents: list[Any], loaders: dict[str, Shelf], held: list[str]) -> bool:
    under = any(one["capability"] in loaders[other["capability"]].over for other in residents)
    return not (one["keep"] or one["capability"] in held or under)


@patch("worker.engine.residency.release_memory", lambda: None)
@given(shelves(), st.integers(0, 25), st.lists(st.integers(0, 100), max_size=20))
@settings(max_examples=200, deadline=None)
def test_what_is_needed_stays_and_the_budget_is_kept_as_far_as_it_can_be(
    shelf: tuple[dict[str, Shelf], list[int]], budget: int, choices: list[int]
) -> None:
    loaders, memory = shelf
    residency = Residency(loaders, budget_bytes=budget, resident_bytes=lambda: sum(memory))
    held: list[str] = []
    ever_kept: set[str] = set()
    for choice in choices:
        if held and choice % 2:
            residency.release(held.pop(choice // 2 % len(held)))
        else:
            name = sorted(loaders)[choice // 2 % len(loaders)]
            assert residency.acquire(name, Ticket()) == name  # type: ignore[comparison-overlap]  # a name
            held.append(name)
        residents = [one for one in residency.stats() if one["resident"]]
        names = {one["capability"] for one in residents}
        ever_kept |= {one["capability"] for one in residents if one["keep"]}
        assert names >= ever_kept.union(held, *(loaders[name].over for name in names))
        if sum(one["bytes"] for one in residents) > budget:
            assert not any(may_go(one, residents, loaders, held) for one in residents)


pictures = st.builds(
    lambda height, width, number: np.full((height, width, 3), number, np.uint8),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 255),
)


@given(
    st.lists(st.lists(pictures, min_size=1, max_size=9), max_size=6),
    st.integers(1, 6),
    st.integers(1, 40),
    st.none() | st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_no_batch_of_pictures_passes_its_budgets_and_none_is_lost(
    requests: list[list[Any]], max_items: int, max_pixels: int, best: int | None
) -> None:
    lanes = Lanes(BatchLimits(max_items=max_items, max_pixels=max_pixels))
    for images in requests:
        lanes.add(Request("Model.run", images, Ticket(), best_batch=best), 0.0)
    served = []
    while isinstance(lane := lanes.next(0.0, company=False), Lane):
        slots = lanes.take(lane, 0.0)
        batch = [slot.item for slot in slots]
        assert len({image.shape for image in batch}) == 1
        assert len(batch) <= min(max_items, best or max_items)
        assert len(batch) == 1 or sum(image.shape[0] * image.shape[1] for image in batch) <= max_pixels
        served += [(id(slot.request), slot.place) for slot in slots]
    assert len(served) == len(set(served)) == sum(map(len, requests))
    assert (lanes.waiting, lanes.jobs) == (0, 0)


@patch("worker.engine.execution.release_memory", lambda: None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 20), max_size=6), st.booleans()), max_size=8),
    st.integers(1, 7),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_every_pending_gets_its_own_answers_or_leaves_nothing_behind(
    new_bench: Any, echo_type: Any, wanted: list[tuple[list[int], bool]], max_items: int, prepares: bool
) -> None:
    bench, numbers = new_bench(), count()
    if prepares:
        bench.model.prepare = lambda _, items: [("ready", item) for item in items]
    try:
        engine = bench.engine(max_items=max_items)
        tickets = [Ticket(), Ticket()]
        items = [[(next(numbers), value) for value in values] for values, _ in wanted]
        pending = [
            engine.submit(echo_type.echo, one, ticket=tickets[index % 2]) for index, one in enumerate(items)
        ]
        for one, (_, cancelled) in zip(pending, wanted, strict=True):
            if cancelled:
                one.cancel()
        for one, asked, (_, cancelled) in zip(pending, items, wanted, strict=True):
            if not cancelled:
                ready = [("ready", item) if prepares else item for item in asked]
                assert one.result() == [("echo", item) for item in ready]
                one.cancel()
        assert engine.stats().waiting == 0
    finally:
        bench.close()
