"""Whether a worker grows: its memory and its file descriptors after 100 jobs and after 10,000.

Real models, pictures and texts mixed. Memory is what is resident when nothing is under way.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import psutil

from benchmarks import inputs
from benchmarks.jobs import HUNDRED, Ledger, Work, in_flight, prepared_batch
from benchmarks.report import Report, read_effort
from benchmarks.stack import Stack, running
from benchmarks.wire import Wire

#: After how many jobs the worker is looked at.
_MARKS = (100, 300, 1_000, 3_000, 10_000)
#: One job in so many has a picture.
_PICTURE_EVERY = 20
_BATCHES = 4
_BAR = 1.05
#: Between the last result and the look: what a job leaves behind is let go.
_CALM_S = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """A worker at rest."""

    jobs: int
    #: MiB resident, of the worker's own process.
    resident: float
    #: MiB, of the worker and its decode children: memory that they share is counted once.
    proportional: float
    descriptors: int
    threads: int


def look(pid: int, jobs: int) -> Look:
    """Return how much a worker holds."""
    worker = psutil.Process(pid)
    everybody = [worker, *worker.children(recursive=True)]
    return Look(
        jobs=jobs,
        resident=worker.memory_info().rss / 2**20,
        proportional=sum(process.memory_full_info().pss for process in everybody) / 2**20,
        descriptors=worker.num_fds(),
        threads=worker.num_threads(),
    )


def _works() -> Iterator[Work]:
    pictures, texts = inputs.pictures("memory"), inputs.captions()
    for number in itertools.count():
        if number % _PICTURE_EVERY:
            yield Work(texts=[next(texts)])
        else:
            yield Work(images=[next(pictures)])


def _run(stack: Stack, works: Iterator[Work], count: int) -> None:
    wire = Wire(stack.url)
    chosen = islice(works, count)
    # A thousand at a time: the requests of ten thousand would be held here all at once.
    while group := list(islice(chosen, 10 * HUNDRED)):
        batches = [group[first : first + HUNDRED] for first in range(0, len(group), HUNDRED)]
        requests = [prepared_batch(wire, batch) for batch in batches]
        in_flight(wire, requests, _BATCHES, Ledger(), batches=True)


def main() -> int:
    effort = read_effort(__doc__, rounds=1)
    marks = sorted({effort.of(mark, least=HUNDRED) for mark in _MARKS})
    looks: list[Look] = []
    began = time.monotonic()
    with running() as stack:
        pid, works, done = stack.pid("worker-1"), _works(), 0
        for mark in marks:
            _run(stack, works, mark - done)
            done = mark
            time.sleep(_CALM_S)
            looks.append(look(pid, done))
        if stack.pid("worker-1") != pid:
            raise RuntimeError("the worker was replaced while it was measured")
    first, last = looks[0], looks[-1]
    report = Report(name="memory", rounds=1, trial=effort.is_trial)
    for one in looks:
        report.add(f"worker, resident after {one.jobs:,} jobs", [one.resident], "MiB")
    for one in (first, last):
        report.add(f"with its decode children (PSS) after {one.jobs:,} jobs", [one.proportional], "MiB")
        report.add(f"file descriptors after {one.jobs:,} jobs", [one.descriptors], "")
        report.add(f"threads after {one.jobs:,} jobs", [one.threads], "")
    span = f"after {last.jobs:,} jobs over after {first.jobs:,}"
    report.bar(f"resident memory {span}", last.resident / first.resident, _BAR, at_least=False)
    report.bar(
        f"with its decode children {span}", last.proportional / first.proportional, _BAR, at_least=False
    )
    report.bar(f"file descriptors more {span}", last.descriptors - first.descriptors, 0, at_least=False)
    report.note(
        f"one job in {_PICTURE_EVERY} embeds a picture, the others a text each; by 100, {_BATCHES} batches "
        f"in flight; {time.monotonic() - began:.0f} s in all; looked at when nothing was under way"
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
