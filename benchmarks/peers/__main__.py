"""This service and its peers, one after the other on the same cores: `python -m benchmarks.peers`.

Every side serves the same graph on the same ONNX Runtime with the same preprocessing, and is asked by the
same load: 64 requests in flight, each one a JPEG that no one has seen, from its upload to its vector. Sides
take turns, several rounds; each one runs only while it is timed. Before that each side's vectors are compared
with this service's, and each is killed once with 64 requests in flight.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.peers import venvs
from benchmarks.peers.export import export
from benchmarks.peers.running import IN_FLIGHT, DoesNotRun, Loss, Running, Timing
from benchmarks.peers.sides import OURS, PEERS, Place, Side
from benchmarks.report import Effort, Report, in_turn, quantile, read_effort
from client.stack.ports import free_port

#: Two vectors of the same picture: what differs is the runtime's rounding.
_SAME = 0.9999
#: Of load, before each window: BentoML learns its batches from the first requests.
_WARM_UP_S = 5.0
#: One window; a trial's is shorter.
_WINDOW_S = 15.0
_LEAST_S = 3.0
#: A killed side that answers nothing for so long will answer no more. Loading our models takes a fifth of it.
_PATIENCE_S = 60.0


@dataclass(slots=True)
class Found:
    """What is known of one side."""

    side: Side
    loss: Loss
    timings: list[Timing] = field(default_factory=list)


class Comparison:
    """Starts sides in a scratch folder, each time anew."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self._folder = folder
        self._model = export(folder)
        self._seconds = seconds
        self._starts = 0
        self._ours: list[str] = []

    def introduce(self, side: Side) -> Found:
        """Return the side once its vectors were found to be ours; by then it was killed once.

        Raises:
            DoesNotRun: it cannot be started here, or it computes something else.
        """
        if side.venv is not None and not venvs.is_made(side.venv):
            raise DoesNotRun(f"{side.title} is not installed: python -m benchmarks.peers.venvs")
        with self._running(side) as running:
            vectors = running.vectors()
            self._ours = self._ours or vectors
            if (likeness := _likeness(vectors, self._ours)) < _SAME:
                raise DoesNotRun(f"{side.title}: its vectors are not ours, cosine {likeness:.5f}")
            return Found(side, running.loss(seed=self._starts, patience_s=_PATIENCE_S))

    def time(self, side: Side) -> Timing:
        """Return one window of load on a freshly started, warmed-up side."""
        with self._running(side) as running:
            running.vectors()
            return running.timing(seed=self._starts, warm_up_s=_WARM_UP_S, seconds=self._seconds)

    def _running(self, side: Side) -> Running:
        self._starts += 1
        return Running(
            side, Place(folder=self._folder / str(self._starts), port=free_port(), model=self._model)
        )


def _likeness(vectors: Sequence[str], others: Sequence[str]) -> float:
    """Return the smallest cosine of two vectors of one picture."""
    ours, theirs = (
        np.stack([np.frombuffer(base64.b64decode(vector), "<f4") for vector in side])
        for side in (vectors, others)
    )
    return float((ours * theirs).sum(axis=1).min())


def report_on(ours: Found, peers: Sequence[Found], absent: Sequence[str], effort: Effort) -> Report:
    """Return the table: figures per side, ratios, what a kill costs, and the bars."""
    report = Report(name="peers", rounds=effort.rounds, trial=effort.is_trial)
    for found in (ours, *peers):
        _add_figures(report, found)
    ratios = [_add_ratio(report, ours, peer) for peer in peers]
    ahead = sum(_p99(ours) < _p99(peer) for peer in peers)
    report.bar("peers that ran", len(peers), len(PEERS))
    for peer, ratio in zip(peers, ratios, strict=True):
        report.bar(f"items per second over {peer.side.title}", ratio, 1)
    report.bar("peers with a longer p99 latency", ahead, 3)
    report.bar("accepted jobs lost in a kill", ours.loss.promised - ours.loss.answered, 0, at_least=False)
    for words in (_versions(), *(_cost(found) for found in (ours, *peers)), *absent):
        report.note(words)
    return report


def _add_figures(report: Report, found: Found) -> None:
    title, timings = found.side.title, found.timings
    report.add(f"{title}: items per second", [timing.per_second for timing in timings], "items/s")
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        latencies = [1000 * quantile(timing.latencies_s, share) for timing in timings]
        report.add(f"{title}: latency {name}", latencies, "ms")
    for name, spent in (("its processes", "cpu_s"), ("the load", "load_cpu_s")):
        cost = [1000 * float(getattr(timing, spent)) / len(timing.latencies_s) for timing in timings]
        report.add(f"{title}: processor time of {name}", cost, "ms/item")
    if refused := [words for timing in timings for words in timing.refused]:
        report.note(f"{title} turned requests away: {refused[0]}")


def _add_ratio(report: Report, ours: Found, peer: Found) -> float:
    mine, theirs = ([timing.per_second for timing in found.timings] for found in (ours, peer))
    return report.ratio(f"ratio, iconotext over {peer.side.title}", mine, theirs).median


def _p99(found: Found) -> float:
    return median(quantile(timing.latencies_s, 0.99) for timing in found.timings)


def _cost(found: Found) -> str:
    """Say what became of the requests in flight when the side was killed."""
    side, loss = found.side, found.loss
    never = loss.in_flight - loss.promised
    words = f"killed with {loss.in_flight} in flight: {side.title} ({side.killed}) "
    if side.promises is None:
        return words + f"lost {never}: it acknowledges nothing, whoever asked must ask again"
    words += f"had acknowledged {loss.promised}, answered {loss.answered} of them when it was back, "
    words += f"lost {loss.promised - loss.answered}"
    return words + (f"; {never} were still being uploaded" if never else "")


def _versions() -> str:
    runtime = {venvs.pinned(name, "onnxruntime") for name in venvs.names()}
    named = [f"{name} {venvs.pinned(name, name)}" for name in venvs.names()]
    return f"peers: {', '.join(named)}; ONNX Runtime {', '.join(sorted(runtime))}; {IN_FLIGHT} in flight"


def _introduced(comparison: Comparison, sides: Sequence[Side]) -> tuple[list[Found], list[str]]:
    """Return the peers that run here, and why the others do not."""
    found, absent = [], []
    for side in sides:
        try:
            found.append(comparison.introduce(side))
        except DoesNotRun as reason:
            absent.append(f"not compared: {reason}")
    return found, absent


def main() -> int:
    effort = read_effort(__doc__, rounds=5)
    with TemporaryDirectory(prefix="peers-") as folder:
        comparison = Comparison(Path(folder), seconds=max(_LEAST_S, _WINDOW_S * effort.share))
        ours = comparison.introduce(OURS)
        peers, absent = _introduced(comparison, PEERS)
        for _, found in in_turn([ours, *peers], effort.rounds):
            found.timings.append(comparison.time(found.side))
    return report_on(ours, peers, absent, effort).finish()


if __name__ == "__main__":
    sys.exit(main())
