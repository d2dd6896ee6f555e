"""What a job costs beyond the model when there is only one: submitted, stored, run, read back.

The model's own time is that of a bare call for one item in the same run, decoding not included: whatever
else a job takes counts as ours.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain

from benchmarks import inputs
from benchmarks.bare import Bare, bare
from benchmarks.jobs import Ledger, Work, in_flight, prepared
from benchmarks.report import Report, in_turn, quantile, read_effort
from benchmarks.stack import CACHE, Stack, running
from benchmarks.wire import Wire

#: Jobs of each kind and way in one round.
_JOBS = 100
_KINDS = ("picture", "text")
_POLLED, _HELD = "POST, then GET ?wait", "POST with Prefer: wait"
_MODEL = "the model alone"
_SETTLE_S = 0.3
#: Milliseconds above the model's median.
_P50_MS, _P99_MS = 20.0, 60.0


@dataclass(frozen=True, slots=True)
class Course:
    """The service and the bare model."""

    stack: Stack
    loop: Bare

    def taken_ms(self, kind: str, side: str, name: str, count: int) -> list[float]:
        """Return how long each of so many jobs, or bare calls, took.

        Args:
            name: of the inputs; each name gives others.
        """
        if side == _MODEL:
            with self.stack.paused():
                return self.loop.call_ms("images" if kind == "picture" else "texts", name, count)
        wire, ledger = Wire(self.stack.url), Ledger()
        if kind == "picture":
            works = [Work(images=[file]) for file in inputs.taken(inputs.pictures(name), count)]
        else:
            works = [Work(texts=[text]) for text in inputs.spoken(inputs.captions(), count)]
        requests = [prepared(wire, work, hold=side == _HELD) for work in works]
        time.sleep(_SETTLE_S)
        in_flight(wire, requests, 1, ledger, batches=False)
        return ledger.latencies_ms


def main() -> int:
    effort = read_effort(__doc__, rounds=3)
    sides = [(kind, side) for kind in _KINDS for side in (_MODEL, _POLLED, _HELD)]
    #: By round.
    taken: defaultdict[tuple[str, str], list[list[float]]] = defaultdict(list)
    with ExitStack() as everything:
        course = Course(
            everything.enter_context(running()), everything.enter_context(bare(cache=CACHE, sweep=False))
        )
        for kind, side in sides:
            course.taken_ms(kind, side, "warm", 20)
        for number, (kind, side) in in_turn(sides, effort.rounds):
            count = effort.of(_JOBS, least=10)
            taken[kind, side].append(course.taken_ms(kind, side, f"{side} {number}", count))
    report = Report(name="latency", rounds=effort.rounds, trial=effort.is_trial)
    for kind in _KINDS:
        model = statistics.median(list(chain.from_iterable(taken[kind, _MODEL])))
        for side in (_MODEL, _POLLED, _HELD):
            for share, label in ((0.5, "p50"), (0.99, "p99")):
                rounds = [quantile(samples, share) for samples in taken[kind, side]]
                report.add(f"{kind}, {side}, {label}", rounds, "ms")
                if side != _MODEL:
                    # Over all rounds: a round alone is too short for a p99.
                    above = quantile(list(chain.from_iterable(taken[kind, side])), share) - model
                    limit = _P50_MS if share == 0.5 else _P99_MS
                    report.bar(f"{kind}, {side}, {label} above the model, ms", above, limit, at_least=False)
    jobs = sum(len(samples) for samples in taken[_KINDS[0], _POLLED])
    report.note(
        f"{jobs} jobs a side, one at a time over one connection; the bars' p99 is over all of them; the "
        "model's own time is the median of bare calls with one item, without decoding, in the same run"
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
