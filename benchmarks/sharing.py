"""Whether short work keeps its pace while long work runs on the same device.

Two long jobs (pictures being generated and painted, a film being watched) are kept going all the time, each
step a request of its own to the engine; beside them one client embeds single pictures, one after the other.
The bar is on the 99th percentile of those, in steps: one step is a `generate` job's model time, alone on the
service, over the number of its steps.
"""

from __future__ import annotations

import statistics
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count

from benchmarks import inputs
from benchmarks.jobs import Ledger, Work, in_flight, prepared
from benchmarks.report import Report, in_turn, quantile, read_effort
from benchmarks.stack import running
from benchmarks.wire import Wire
from client.demo.errands import film
from client.models import Job
from client.sdk import Client

#: Short jobs of one side in one round.
_JOBS = 100
_STEPS = 60
_MOST_STEPS = 5.0
_PATIENCE_S = 300.0

Submit = Callable[[Client, int], Job]


def generate(client: Client, number: int) -> Job:
    """Submit a picture to be made from a text."""
    return client.submit("generate", prompt="a lighthouse on a cliff", seed=number, steps=_STEPS)


def stylize(client: Client, number: int) -> Job:
    """Submit a photograph to be painted in the manner of another."""
    photo, style = inputs.taken(inputs.pictures(f"stylize {number}"), 2)
    return client.submit("stylize", images=[photo], style={"image": style})


def watch(client: Client, number: int) -> Job:
    """Submit the demo's film; its rule's name makes each job another."""
    path = film()
    if path is None:
        raise RuntimeError("the film is not installed; `pip install 'iconotext[demo]'` brings it")
    rules = [{"name": f"bicycle {number}", "text": "a person riding a bicycle"}]
    return client.submit("video", videos=[path], rules=rules, sample_fps=10.0)


_PAIRS: Mapping[str, tuple[Submit, ...]] = {
    "nothing": (),
    "generate and generate": (generate, generate),
    "generate and stylize": (generate, stylize),
    "stylize and video": (stylize, watch),
}


def main() -> int:
    effort = read_effort(__doc__, rounds=2)
    taken: dict[str, list[list[float]]] = {name: [] for name in _PAIRS}
    steps: list[float] = []
    with running() as stack, Client(stack.url) as client:
        numbers = count()
        for submit in (generate, stylize, watch):
            client.wait(submit(client, next(numbers)).id, _PATIENCE_S)
        for round_number, name in in_turn(list(_PAIRS), effort.rounds):
            if name == "nothing":
                steps.append(_step_ms(client.wait(generate(client, next(numbers)).id, _PATIENCE_S)))
            with _going(stack.url, _PAIRS[name], numbers):
                taken[name].append(_short_ms(stack.url, f"{name} {round_number}", effort.of(_JOBS, least=20)))
    report = Report(name="sharing", rounds=effort.rounds, trial=effort.is_trial)
    step = statistics.median(steps)
    report.add("one step of generate", steps, "ms")
    for name, rounds in taken.items():
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            report.add(f"embed beside {name}, {label}", [quantile(one, share) for one in rounds], "ms")
        if name != "nothing":
            p99 = quantile(list(chain.from_iterable(rounds)), 0.99)
            report.bar(f"embed beside {name}, p99 in steps", p99 / step, _MOST_STEPS, at_least=False)
    report.note(
        f"{sum(map(len, taken['nothing']))} single pictures a side, one at a time over one connection"
    )
    return report.finish()


def _step_ms(job: Job) -> float:
    return float((job.timings_ms or {})["model"] or 0.0) / _STEPS


def _short_ms(url: str, name: str, jobs: int) -> list[float]:
    wire, ledger = Wire(url), Ledger()
    works = [Work(images=[file]) for file in inputs.taken(inputs.pictures(name), jobs)]
    in_flight(wire, [prepared(wire, work, hold=True) for work in works], 1, ledger, batches=False)
    return ledger.latencies_ms


@contextmanager
def _going(url: str, submits: tuple[Submit, ...], numbers: Iterator[int]) -> Iterator[None]:
    """Keep one job of each kind running inside the block; end them with it."""
    company = _Company(url, submits, numbers)
    company.begin()
    try:
        yield
    finally:
        company.end()


class _Company:
    """Long jobs that run beside others."""

    def __init__(self, url: str, submits: tuple[Submit, ...], numbers: Iterator[int]) -> None:
        self._url = url
        self._numbers = numbers
        self._over = threading.Event()
        self._all_run = threading.Barrier(len(submits) + 1)
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._go, args=(submit,)) for submit in submits]

    def begin(self) -> None:
        """Start one job of each kind, and wait until all of them run."""
        for thread in self._threads:
            thread.start()
        self._all_run.wait(_PATIENCE_S)

    def end(self) -> None:
        """Cancel what runs; raises what went wrong meanwhile."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _go(self, submit: Submit) -> None:
        try:
            with Client(self._url) as client:
                self._keep_going(client, submit)
        except BaseException as error:  # noqa: BLE001  told in the thread that waits
            self._failures.append(error)
            self._all_run.abort()

    def _keep_going(self, client: Client, submit: Submit) -> None:
        waiting = [self._all_run]

        def report(job: Job) -> None:
            if job.status != "queued" and waiting:
                waiting.pop().wait(_PATIENCE_S)
            if self._over.is_set() and not job.is_terminal:
                client.cancel(job.id)

        while not self._over.is_set():
            client.watch(submit(client, next(self._numbers)).id, _PATIENCE_S, report)


if __name__ == "__main__":
    sys.exit(main())
