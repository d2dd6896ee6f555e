"""What a job costs when its model does nothing: jobs a second, beside bare Celery tasks that do nothing.

A job is stored, claimed, leased, settled and read back by the client, all of it durable; the Celery task is
published and taken, and nobody can ask what became of it.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from benchmarks import inputs
from benchmarks.jobs import HUNDRED, Ledger, Work, in_flight, prepared, prepared_batch
from benchmarks.noops import CONCURRENCY, Noops, noops
from benchmarks.report import Report, in_turn, read_effort
from benchmarks.servers import postgres, valkey
from benchmarks.stack import Stack, running
from benchmarks.wire import Wire

_USERS = 64
_BATCHES = 4
_TASKS = 6_000
_BY_HUNDRED = 4_000
_SINGLY = 2_000
_SETTINGS = {"ICONOTEXT_API_THREADS": "96"}
_BAR = 0.6
_SETTLE_S = 0.3


class Pausable(Protocol):
    """Something that can hold still."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Side:
    """One way to get things done."""

    name: str
    #: Runs this many, and returns how many a second.
    rate: Callable[[int], float]
    count: int
    #: What runs it.
    who: Pausable


def _jobs(stack: Stack, count: int, *, batches: bool) -> float:
    wire, ledger = Wire(stack.url), Ledger()
    works = (Work(texts=[text]) for text in islice(inputs.captions(), count))
    if batches:
        groups = iter(lambda: list(islice(works, HUNDRED)), [])
        requests = [prepared_batch(wire, group) for group in groups]
        return count / in_flight(wire, requests, _BATCHES, ledger, batches=True)
    requests = [prepared(wire, work, hold=True) for work in works]
    return count / in_flight(wire, requests, _USERS, ledger, batches=False)


def _sides(stacks: dict[str, Stack], celery: dict[str, Noops]) -> list[Side]:
    sides = [Side(f"Celery, {pool}", worker.rate, _TASKS, worker) for pool, worker in celery.items()]
    for database, stack in stacks.items():
        by_hundred = lambda count, stack=stack: _jobs(stack, count, batches=True)  # noqa: E731
        singly = lambda count, stack=stack: _jobs(stack, count, batches=False)  # noqa: E731
        sides.append(Side(f"{database}, by 100", by_hundred, _BY_HUNDRED, stack))
        sides.append(Side(f"{database}, singly", singly, _SINGLY, stack))
    return sides


@contextmanager
def _alone(side: Side, everybody: list[Pausable]) -> Iterator[None]:
    """Let one run while the others hold still."""
    others = [one for one in everybody if one is not side.who]
    for one in others:
        one.pause()
    try:
        time.sleep(_SETTLE_S)
        yield
    finally:
        for one in others:
            one.resume()


def main() -> int:
    effort = read_effort(__doc__, rounds=3)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    with ExitStack() as everything:
        enter = everything.enter_context
        database = enter(postgres()).new_database("overhead")
        stacks = {
            "SQLite": enter(running(profile="fake", settings=_SETTINGS)),
            "PostgreSQL": enter(
                running(profile="fake", settings={**_SETTINGS, "ICONOTEXT_DATABASE_URL": database})
            ),
        }
        celery = {pool: enter(noops(enter(valkey()), pool)) for pool in CONCURRENCY}
        everybody: list[Pausable] = [*stacks.values(), *celery.values()]
        sides = _sides(stacks, celery)
        for side in sides:
            side.rate(200)
        for _, side in in_turn(sides, effort.rounds):
            with _alone(side, everybody):
                rates[side.name].append(side.rate(effort.of(side.count, least=HUNDRED)))
    report = Report(name="overhead", rounds=effort.rounds, trial=effort.is_trial)
    for name, samples in rates.items():
        report.add(name, samples, "tasks/s" if name.startswith("Celery") else "jobs/s")
    best = max(
        (name for name in rates if name.startswith("Celery")), key=lambda name: report.figures[name].median
    )
    for name in [name for name in rates if not name.startswith("Celery")]:
        ratio = report.ratio(f"{name}, over {best}", rates[name], rates[best])
        if name.endswith("by 100"):
            report.bar(f"{name}, over {best}", ratio.median, _BAR)
    report.note(
        f"jobs: one text each; singly: {_USERS} users with one job under way (Prefer: wait); by 100: "
        f"{_BATCHES} batches in flight; every result is read by the client"
    )
    report.note(
        f"Celery: prefetch as its guide says for short tasks, {CONCURRENCY['threads']} threads, "
        f"{CONCURRENCY['prefork']} prefork children; done is what the worker itself counts"
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
