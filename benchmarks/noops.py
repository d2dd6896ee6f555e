"""Bare Celery: a task that does nothing, published and consumed at once, whose outcome nobody keeps.

Set up as Celery's own guide to optimizing says for many short tasks: a large prefetch, early
acknowledgement, no results, no events, no gossip.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import psutil
from celery import Celery
from celery.worker import state

from benchmarks.bare import ROOT

TASK = "noop"
#: Processes, or threads: for prefork one a core.
CONCURRENCY = {"prefork": len(os.sched_getaffinity(0)), "threads": 8}
#: "If you have many tasks with a short duration": 50 or 150 in the guide.
_PREFETCH = 150
_LOOK_S = 0.005


def make_app(broker: str) -> Celery:
    """Return a Celery app whose one task does nothing."""
    app = Celery("noops", broker=broker, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=_PREFETCH,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
    )
    app.task(name=TASK)(_noop)
    return app


def _noop(_number: int) -> None:
    """Do nothing."""


class Noops:
    """A worker, and this process as its publisher."""

    def __init__(self, popen: subprocess.Popen[str], broker: str, log: IO[bytes]) -> None:
        self._popen = popen
        self._log = log
        self._app = make_app(broker)
        self._done = 0

    def rate(self, count: int) -> float:
        """Publish so many tasks one by one and return how many a second were published and done."""
        began = time.monotonic()
        task = self._app.tasks[TASK]
        with self._app.producer_or_acquire() as producer:
            for number in range(count):
                task.apply_async((number,), producer=producer)
        return count / (self._ended(self._done + count) - began)

    def pause(self) -> None:
        """Stop its processes where they stand."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let its processes go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End the worker."""
        self.resume()
        self._popen.terminate()
        try:
            self._popen.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def _ended(self, total: int) -> float:
        """Return when the last of so many tasks, in all, had been done."""
        if self._popen.stdout is None:
            raise RuntimeError("the worker says nothing")
        for line in self._popen.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["done"] >= total:
                self._done = total
                return float(told["at"])
        self._log.seek(0)
        words = self._log.read().decode(errors="replace")
        raise RuntimeError(f"the Celery worker ended with status {self._popen.wait()}:\n{words[-2000:]}")

    def _signal(self, number: signal.Signals) -> None:
        parent = psutil.Process(self._popen.pid)
        for process in [parent, *parent.children(recursive=True)]:
            process.send_signal(number)


@contextmanager
def noops(broker: str, pool: str) -> Iterator[Noops]:
    """Run a Celery worker with this pool, `threads` or `prefork`."""
    script = "from benchmarks.noops import serve; serve()"
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, "-c", script, broker, pool],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        ) as popen,
    ):
        worker = Noops(popen, broker, log)
        try:
            # One round of it, and connections are open.
            worker.rate(100)
            yield worker
        finally:
            worker.close()


def serve() -> None:
    """Run the worker, and say on standard output how much is done, whenever nothing is left to do."""
    broker, pool = sys.argv[1:]
    said = os.dup(1)
    os.dup2(2, 1)
    threading.Thread(target=_tell, args=(said,), daemon=True).start()
    make_app(broker).worker_main(
        [
            "worker",
            f"--pool={pool}",
            f"--concurrency={CONCURRENCY[pool]}",
            "--loglevel=ERROR",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


def _tell(said: int) -> None:
    """Write down the worker's own count, so that counting costs the tasks nothing."""
    told = 0
    while True:
        time.sleep(_LOOK_S)
        done = sum(state.total_count.values())
        if done > told and not state.reserved_requests:
            told = done
            words = {"done": done, "at": time.monotonic()}
            os.write(said, (json.dumps(words) + "\n").encode())
