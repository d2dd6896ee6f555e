"""How much of the bare model's speed is left behind the service, where every job is durable.

One side is a bare loop in a process of its own: decode a picture, put some together, call the model, on the
fastest runtime and at the best batch size. The other is the whole service: HTTP, blobs, SQL, hints, decode
children, batching, results read by a client. The side that is not measured holds still.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice

from benchmarks import inputs
from benchmarks.bare import Bare, bare
from benchmarks.jobs import HUNDRED, Ledger, Work, in_flight, prepared, prepared_batch
from benchmarks.report import Effort, Report, in_turn, read_effort
from benchmarks.stack import CACHE, Stack, running
from benchmarks.wire import Wire

#: How long one side works in one round, as the bare loop goes.
_SECONDS = 5.0
#: Inputs of a large job, and how many such jobs are in flight.
_MANY = 64
_LARGE_JOBS = 4
_USERS = 64
_BATCHES = 4
#: After the other side, and before this one is measured.
_SETTLE_S = 0.5
#: What a side must reach of the bare loop.
BARS = {
    ("images", f"jobs of {_MANY}"): 0.90,
    ("texts", f"jobs of {_MANY}"): 0.90,
    ("images", "jobs of 1, by 100"): 0.60,
    ("texts", "jobs of 1, by 100"): 0.40,
    ("images", "jobs of 1, singly"): 0.60,
    ("texts", "jobs of 1, singly"): 0.40,
}

#: Items a second, CPU milliseconds for each, CPU milliseconds of the client for each.
Measured = tuple[float, float, float]


@dataclass(slots=True)
class Course:
    """Both sides, ready, and what they did."""

    stack: Stack
    tuned: Bare
    eager: Bare
    effort: Effort
    counts: dict[str, int] = field(default_factory=dict)
    eager_counts: dict[str, int] = field(default_factory=dict)
    rates: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    client_ms: list[float] = field(default_factory=list)

    def sides(self) -> dict[str, Callable[[str, str, int], Measured]]:
        """Return what measures each side, given the kind, a name for its inputs and how many."""
        return {
            "bare loop": lambda kind, name, count: self._bare(self.tuned, kind, name, count),
            "bare loop, eager torch": lambda kind, name, count: self._bare(
                self.eager, kind, name, count // 2
            ),
            f"jobs of {_MANY}": self._large,
            "jobs of 1, by 100": self._by_hundred,
            "jobs of 1, singly": self._singly,
        }

    def prepare(self) -> None:
        """Warm every side, and find out how many items the bare loop needs for one round."""
        for kind in ("images", "texts"):
            rate, *_ = self._bare(self.tuned, kind, "warm", 64 if kind == "images" else 256)
            wanted = self.effort.of(round(rate * _SECONDS), least=_MANY)
            # Whole jobs, and whole batches of jobs: an odd rest would run alone.
            self.counts[kind] = max(_MANY, wanted // _MANY * _MANY)
            rate, *_ = self._bare(self.eager, kind, "warm", 16)
            self.eager_counts[kind] = self.effort.of(round(rate * _SECONDS / 2), least=8)
            for measure in (self._large, self._by_hundred, self._singly):
                measure(kind, "warm", 2 * _MANY)

    def measure(self) -> None:
        """Measure every side in every round."""
        sides = [(kind, *side) for kind in ("images", "texts") for side in self.sides().items()]
        for number, (kind, side, measure) in in_turn(sides, self.effort.rounds):
            rate, cpu_ms, client_ms = measure(kind, f"{side} {number}", self.counts[kind])
            self.rates[kind, side].append(rate)
            self.cpu_ms[kind, side].append(cpu_ms)
            if client_ms:
                self.client_ms.append(client_ms)

    def _bare(self, loop: Bare, kind: str, name: str, count: int) -> Measured:
        with self.stack.paused():
            time.sleep(_SETTLE_S)
            return *loop.rate(kind, name, count), 0.0

    def _large(self, kind: str, name: str, count: int) -> Measured:
        wire = Wire(self.stack.url)
        works = _works(kind, name, count, _MANY)
        requests = [prepared(wire, work, hold=False) for work in works]
        return self._served(wire, requests, _LARGE_JOBS, batches=False)

    def _by_hundred(self, kind: str, name: str, count: int) -> Measured:
        wire = Wire(self.stack.url)
        works = _works(kind, name, count, 1)
        groups = iter(lambda: list(islice(works, HUNDRED)), [])
        requests = [prepared_batch(wire, group) for group in groups]
        return self._served(wire, requests, _BATCHES, batches=True)

    def _singly(self, kind: str, name: str, count: int) -> Measured:
        wire = Wire(self.stack.url)
        requests = [prepared(wire, work, hold=True) for work in _works(kind, name, count, 1)]
        return self._served(wire, requests, _USERS, batches=False)

    def _served(self, wire: Wire, requests: list[bytes], lanes: int, *, batches: bool) -> Measured:
        time.sleep(_SETTLE_S)
        ledger, cpu, client = Ledger(), self.stack.cpu_seconds(), time.process_time()
        seconds = in_flight(wire, requests, lanes, ledger, batches=batches)
        spent = self.stack.cpu_seconds() - cpu
        own = time.process_time() - client
        return ledger.items / seconds, spent / ledger.items * 1000, own / ledger.items * 1000


def _works(kind: str, name: str, count: int, size: int) -> Iterator[Work]:
    pictures, texts = inputs.pictures(name), inputs.captions()
    for _ in range(count // size):
        if kind == "images":
            yield Work(images=inputs.taken(pictures, size))
        else:
            yield Work(texts=inputs.spoken(texts, size))


def _report(course: Course) -> Report:
    report = Report(name="efficiency", rounds=course.effort.rounds, trial=course.effort.is_trial)
    for kind in ("images", "texts"):
        for side in course.sides():
            report.add(f"{kind}, {side}", course.rates[kind, side], "items/s")
    for kind in ("images", "texts"):
        bare_rates = course.rates[kind, "bare loop"]
        for side in list(course.sides())[1:]:
            ratio = report.ratio(f"{kind}, {side}, over the bare loop", course.rates[kind, side], bare_rates)
            if (limit := BARS.get((kind, side))) is not None:
                report.bar(f"{kind}, {side}, over the bare loop", ratio.median, limit)
    for kind in ("images", "texts"):
        for side in course.sides():
            report.add(f"{kind}, {side}, CPU of each", course.cpu_ms[kind, side], "ms")
    report.add("the client's own CPU for each item, not in the lines above", course.client_ms, "ms")
    report.note(
        f"best batch size of the bare loop, of those tried in this run: {_sizes(course.tuned)}; "
        f"eager torch: {_sizes(course.eager)}"
    )
    report.note(
        f"pictures: 640x480 JPEGs, embedded in the image encoder's space; texts: {inputs.mean_words():.1f} "
        "words on average, embedded in the joint space; no two alike"
    )
    report.note(
        f"jobs of {_MANY}: {_LARGE_JOBS} in flight; singly: {_USERS} users, each with one job under way "
        f"(Prefer: wait); by 100: {_BATCHES} batches in flight"
    )
    return report


def _sizes(loop: Bare) -> str:
    return ", ".join(f"{size} {kind}" for kind, size in loop.sizes.items())


def main() -> int:
    effort = read_effort(__doc__, rounds=3)
    with ExitStack() as everything:
        # First the stack: its worker measures the runtimes, and the bare loops read what it chose.
        stack = everything.enter_context(running())
        tuned = everything.enter_context(bare(cache=CACHE))
        eager = everything.enter_context(bare(cache=CACHE, runtime="eager"))
        course = Course(stack, tuned, eager, effort)
        course.prepare()
        course.measure()
        return _report(course).finish()


if __name__ == "__main__":
    sys.exit(main())
