"""Every process is replaced while work comes in; then the last release's API serves the new workers."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.report import OUT, quantile
from shared.jobs import JobState
from tests.chaos import scenes
from tests.chaos.scenes import Scene
from tests.chaos.world import World, world

_ROOT = OUT.parent.parent
#: The release before this one: a commit of this repository.
PREVIOUS = "e8a9678"
_ROUNDS = 3
_LANES = 4
_PAUSE_S = 0.02
_WORKERS = 2
_OLD_JOBS = 200


def run(scene: Scene) -> int:
    """No request fails but where the connection it used was killed, and every job is done."""
    report = scene.report("rolling")
    with world(scene.kind) as built:
        database = built.database.direct()
        built.start(_WORKERS)
        load = _Load(built)
        load.start()
        began = time.monotonic()
        for _ in range(scene.of(_ROUNDS)):
            _replace_everything(built)
        load.close()
        spent = time.monotonic() - began
        scenes.require_the_end(database, 60.0)
        new_statuses = Counter(load.statuses)
        code = _previous_release(built.folder / "previous")
        old = _old_api(built, code, scene.of(_OLD_JOBS)) if code is not None else Counter[int]()
        scenes.require_the_end(database, 60.0)
        found = scenes.ended(database)
        broken = scenes.broken_stories(database)
        database.close()
    bad = {status: count for status, count in new_statuses.items() if status not in {200, 202}}
    report.add("requests", [sum(new_statuses.values())], "requests")
    report.add("resets", [load.resets], "requests")
    report.add("slowest request", [max(load.spent_s)], "s")
    report.add("p99 of a request", [quantile(load.spent_s, 0.99)], "s")
    report.add("restarts of everything", [spent / scene.of(_ROUNDS)], "s each")
    report.add("re-runs", [sum(one.attempt - 1 for one in found.values())], "runs")
    report.note(f"{scene.kind}, seed {scene.seed}, answers {dict(new_statuses)}, the old API's {dict(old)}")
    report.bar("failed requests", sum(bad.values()), 0, at_least=False)
    if not report.trial or old:
        report.bar("requests of the old API", sum(old.values()), 1)
    report.bar(
        "failed requests of the old API",
        sum(count for status, count in old.items() if status not in {200, 202}),
        0,
        at_least=False,
    )
    report.bar(
        "jobs that did not succeed",
        sum(one.state is not JobState.SUCCEEDED for one in found.values()),
        0,
        at_least=False,
    )
    report.bar("jobs with two ends", len(broken), 0, at_least=False)
    report.bar("jobs lost", len(set(load.accepted) - set(found)), 0, at_least=False)
    return report.finish()


def _replace_everything(built: World) -> None:
    """Restart the queue, then each worker, then the API, one after the other, each in order."""
    built.stage.restart(built.stage.programs["valkey"])
    for worker in built.workers:
        built.stage.restart(worker)
        built.wait_until_ready(_WORKERS)
    # The next one listens on the same socket before the present one stops.
    second = built.stage.add("api-next", built.api_command())
    time.sleep(2.0)
    built.stage.restart(built.api)
    time.sleep(2.0)
    built.stage.retire(second)


class _Load:
    """Submits and polls without a pause, on connections that stay open, and tries nothing twice."""

    def __init__(self, built: World) -> None:
        self._built = built
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(_LANES)]
        self.statuses: Counter[int] = Counter()
        self.resets = 0
        self.spent_s: list[float] = []
        self.accepted: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with scenes.caller(self._built) as client:
            while not self._done.wait(_PAUSE_S):
                body = scenes.text(f"red number {next(self._numbers)}")
                answer = self._ask(client, "POST", "/v1/jobs", json=body)
                if answer is not None and answer.status_code in {200, 202}:
                    self.accepted.append(answer.json()["id"])
                    self._ask(client, "GET", f"/v1/jobs/{self.accepted[-1]}", params={"wait": 5})

    def _ask(self, client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = client.request(method, path, **options)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # An idle connection that its server closed, or one that ended with its process.
            with self._lock:
                self.resets += 1
            return None
        with self._lock:
            self.statuses[answer.status_code] += 1
            self.spent_s.append(time.monotonic() - began)
        return answer


def _old_api(built: World, code: Path, count: int) -> Counter[int]:
    """Serve the new database and the new workers with the API of the release before; return its answers."""
    built.stage.replace(built.api, built.api_command(folder=code))
    built.stage.restart(built.api)
    built.wait_until_ready(_WORKERS)
    statuses: Counter[int] = Counter()
    with scenes.caller(built) as client:
        if "generation" in client.get("/v1/jobs").raise_for_status().text:
            raise AssertionError("this is not the release before")
        for number in range(count):
            answer = client.post("/v1/jobs", json=scenes.text(f"blue number {number}"))
            statuses[answer.status_code] += 1
            job = client.get(f"/v1/jobs/{answer.json()['id']}", params={"wait": 20})
            statuses[job.status_code] += 1
            if job.json()["status"] != "succeeded":
                raise AssertionError(f"{job.json()['id']} is {job.json()['status']}")
    return statuses


def _previous_release(folder: Path) -> Path | None:
    """Return a folder with the code of the release before; None: a shallow clone does not hold it."""
    done = subprocess.run(
        ["git", "archive", PREVIOUS, "api", "shared"],
        cwd=_ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    if done.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder
