"""Whatever jobs come together, each gets exactly its own answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ModelFailed, ModelOutOfMemory
from worker.engine import Ticket

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
