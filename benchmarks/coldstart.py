"""How long a worker takes from its start until it takes jobs, with the starter profile.

The same process that `iconotext up` starts, against a Valkey and a database that are there. The first start
has an empty cache: it fits, exports and measures. The others find what it left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

import psutil

from benchmarks.bare import ROOT
from benchmarks.report import Report, read_effort
from benchmarks.servers import valkey
from shared.database import Database, upgrade
from shared.store import JobStore

_READY_WITHIN_S = 240.0
_STOPPED_WITHIN_S = 40.0
_LOOK_S = 0.02
_BAR_S = 12.0


def main() -> int:
    effort = read_effort(__doc__, rounds=5)
    with ExitStack() as everything:
        folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="iconotext-coldstart-")))
        broker = everything.enter_context(valkey())
        url = f"sqlite:///{folder / 'iconotext.db'}"
        upgrade(url)
        database = everything.enter_context(closing(Database(url)))
        store = JobStore(database, lease=timedelta(seconds=30), max_attempts=3)
        env = {
            **os.environ,
            "ICONOTEXT_DATA_DIR": str(folder),
            "ICONOTEXT_CACHE_DIR": str(folder / "cache"),
            "ICONOTEXT_DATABASE_URL": url,
            "ICONOTEXT_REDIS_URL": broker,
            "ICONOTEXT_PROFILE": "starter",
        }
        starts = [_start(env, store, folder / f"worker-{number}.log") for number in range(effort.rounds + 1)]
    (first_s, first_cpu_s), *others = starts
    report = Report(name="coldstart", rounds=effort.rounds, trial=effort.is_trial)
    report.add("first start, empty cache", [first_s], "s")
    report.add("first start, CPU", [first_cpu_s], "s")
    ready = report.add("start until ready", [wall for wall, _ in others], "s")
    report.add("start until ready, CPU", [cpu for _, cpu in others], "s")
    report.bar("start until ready, the slowest, s", max(ready.samples), _BAR_S, at_least=False)
    report.note(
        "ready: the worker has announced itself, which is what readiness probes count; the disk is warm"
    )
    return report.finish()


def _start(env: Mapping[str, str], store: JobStore, log: Path) -> tuple[float, float]:
    """Start a worker, wait until it is ready, stop it; return the seconds it took, and of CPU."""
    known = {worker for worker, _ in store.workers(seen_within=timedelta(hours=1))}
    began = time.monotonic()
    with _worker(env, log) as popen:
        while True:
            now = {worker for worker, _ in store.workers(seen_within=timedelta(hours=1))}
            if now - known:
                return time.monotonic() - began, _cpu_seconds(popen.pid)
            if popen.poll() is not None or time.monotonic() - began > _READY_WITHIN_S:
                raise RuntimeError(f"the worker did not become ready:\n{log.read_text()[-2000:]}")
            time.sleep(_LOOK_S)


@contextmanager
def _worker(env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as stream:
        popen = subprocess.Popen(
            [sys.executable, "-m", "worker"],
            env=dict(env),
            cwd=ROOT,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield popen
    finally:
        popen.terminate()
        try:
            popen.wait(_STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


def _cpu_seconds(pid: int) -> float:
    worker = psutil.Process(pid)
    times = [process.cpu_times() for process in (worker, *worker.children(recursive=True))]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    sys.exit(main())
