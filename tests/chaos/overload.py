"""Ten times more than can be done, for a minute."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping

import httpx

from benchmarks.report import quantile
from tests.chaos import scenes
from tests.chaos.scenes import Ended, Scene
from tests.chaos.world import World, world

_SECONDS = 60.0
_WORKERS = 2
#: Each holds the device for so long: two workers end ten jobs a second, and hardly use a core.
_JOB_S = 0.2
_TIMES = 10
_LANES = 24
_QUEUED = 150
_SETTINGS = {"ICONOTEXT_MAX_QUEUED_JOBS": str(_QUEUED), "ICONOTEXT_MAX_QUEUED_JOBS_OF_ALL": str(_QUEUED)}
_BAR_MS = 500.0
#: Of what a process held after the first tenth of the time.
_GROWTH = 1.10


def run(scene: Scene) -> int:
    """Memory stays, submits stay quick, refusals say when to come back, and what was accepted is done."""
    report = scene.report("overload")
    seconds = max(8.0, _SECONDS * scene.share)
    with world(scene.kind, settings=_SETTINGS) as built:
        database = built.database.direct()
        built.start(_WORKERS)
        flood = _Flood(built, seconds)
        sizes = flood.run()
        spent = scenes.require_the_end(database, 120.0)
        found = scenes.ended(database)
        database.close()
    report.add("offered", [flood.offered / seconds], "jobs/s")
    report.add("done", [len(found) / (seconds + spent)], "jobs/s")
    report.add("accepted", [len(flood.accepted)], "jobs")
    report.add("refused", [flood.refused], "jobs")
    report.add("submit p50", [quantile(flood.spent_ms, 0.5)], "ms")
    report.add("submit p99", [quantile(flood.spent_ms, 0.99)], "ms")
    report.add("longest Retry-After", [max(flood.patience_s, default=0)], "s")
    for name, (first, last) in sizes.items():
        report.add(f"memory of {name}, first", [first / 2**20], "MiB")
        report.add(f"memory of {name}, last", [last / 2**20], "MiB")
    report.note(f"{scene.kind}, {seconds:g} s, answers {flood.statuses}")
    if not report.trial:
        report.bar("submit p99", quantile(flood.spent_ms, 0.99), _BAR_MS, at_least=False)
    report.bar("refusals without Retry-After", flood.without, 0, at_least=False)
    report.bar("refused", flood.refused, 1)
    report.bar("accepted and not done", len(set(flood.accepted) - _succeeded(found)), 0, at_least=False)
    report.bar(
        "answers that are neither",
        len([one for one in flood.statuses if one not in {200, 202, 429, 503}]),
        0,
        at_least=False,
    )
    growth = max(last / first for first, last in sizes.values())
    report.bar("growth of memory", growth, _GROWTH, at_least=False)
    return report.finish()


def _succeeded(found: Mapping[str, Ended]) -> set[str]:
    return {job_id for job_id, one in found.items() if one.state == "succeeded"}


class _Flood:
    """Submits at a fixed rate, whatever the answers are."""

    def __init__(self, built: World, seconds: float) -> None:
        self._built = built
        self._seconds = seconds
        self._rate = _TIMES * _WORKERS / _JOB_S
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.accepted: list[str] = []
        self.refused = self.without = self.offered = 0
        self.spent_ms: list[float] = []
        self.patience_s: list[float] = []
        self.statuses: dict[int, int] = {}

    def run(self) -> dict[str, tuple[int, int]]:
        """Flood, and return each process's memory after a tenth of the time and at the end."""
        self._began = time.monotonic()
        threads = [threading.Thread(target=self._submit) for _ in range(_LANES)]
        for thread in threads:
            thread.start()
        time.sleep(self._seconds / 10)
        first = self._sizes()
        for thread in threads:
            thread.join()
        last = self._sizes()
        return {name: (first[name], last[name]) for name in first}

    def _sizes(self) -> dict[str, int]:
        programs = (self._built.api, *self._built.workers)
        return {one.name: sum(part.memory_info().rss for part in one.everybody()) for one in programs}

    def _submit(self) -> None:
        with scenes.caller(self._built) as client:
            while True:
                with self._lock:
                    number = next(self._numbers)
                due = self._began + number / self._rate
                if due > self._began + self._seconds:
                    return
                time.sleep(max(0.0, due - time.monotonic()))
                began = time.monotonic()
                answer = client.post("/v1/jobs", json=scenes.text(f"fake:sleep={_JOB_S} red {number}"))
                self._note(answer, (time.monotonic() - began) * 1000)

    def _note(self, answer: httpx.Response, spent_ms: float) -> None:
        with self._lock:
            self.offered += 1
            self.spent_ms.append(spent_ms)
            self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
            if answer.status_code in {200, 202}:
                self.accepted.append(answer.json()["id"])
                return
            self.refused += 1
            if "Retry-After" in answer.headers:
                self.patience_s.append(float(answer.headers["Retry-After"]))
            else:
                self.without += 1
