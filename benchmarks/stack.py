"""The service as a user starts it, for as long as a benchmark needs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.report import OUT

#: The first start on a busy machine, which measures every runtime, takes half of this.
_READY_WITHIN_S = 300.0
_STOPPED_WITHIN_S = 60.0
#: What workers measure and fit at their first start, kept for all benchmarks.
CACHE = OUT / "cache"


class Stack:
    """One `iconotext up` that is ready: where it answers, its processes, and a way to have it hold still."""

    def __init__(self, popen: subprocess.Popen[bytes], data_dir: Path) -> None:
        self._popen = popen
        self.data_dir = data_dir
        self.url = str(self._record()["url"])

    @property
    def database_url(self) -> str:
        """Return the URL of its SQLite, which is what it uses unless its settings name another."""
        return f"sqlite:///{self.data_dir / 'iconotext.db'}"

    @property
    def redis_url(self) -> str:
        """Return the URL of its embedded Valkey."""
        return redis_url(self.data_dir / "valkey" / "valkey.conf")

    def pid(self, name: str) -> int:
        """Return the process of this name, `api`, `worker-1` or `valkey`."""
        processes = self._record()["processes"]
        if not isinstance(processes, dict):
            raise TypeError(f"{processes!r} is no record of processes")
        return int(processes[name])

    def pids(self) -> list[int]:
        """Return its processes and theirs, the supervisor first."""
        return [process.pid for process in self._processes()]

    def cpu_seconds(self) -> float:
        """Return what all its processes have used so far, and those that they have outlived."""
        total = 0.0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def pause(self) -> None:
        """Stop every process where it stands, so that it uses no CPU; the supervisor first."""
        self._signal(self._processes(), signal.SIGSTOP)

    def resume(self) -> None:
        """Let every process go on; the supervisor last."""
        self._signal(list(reversed(self._processes())), signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold still while the block runs. Shorter than the lease (30 s) when jobs are in flight."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def log(self, name: str) -> str:
        """Return what one process has written so far."""
        return (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")

    def _record(self) -> dict[str, object]:
        return _read(self.data_dir / "up.json")

    def _processes(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self._popen.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def _signal(self, processes: list[psutil.Process], number: signal.Signals) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@contextmanager
def running(
    *,
    profile: str = "starter",
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    cache: Path | None = CACHE,
    ready_within_s: float = _READY_WITHIN_S,
) -> Iterator[Stack]:
    """Run `iconotext up` on a free port with a data folder of its own, and yield it once it is ready.

    Args:
        profile: a name, or the path of a manifest.
        settings: `ICONOTEXT_*` variables for the whole stack.
        cache: the folder for what workers measure and fit; None: inside the data folder, empty at the start.
    """
    with tempfile.TemporaryDirectory(prefix="iconotext-bench-") as folder:
        command = [sys.executable, "-m", "client", "up", "--port", "0", "--data-dir", folder]
        command += ["--profile", profile, "--workers", str(workers)]
        env = {**os.environ, **({} if cache is None else {"ICONOTEXT_CACHE_DIR": str(cache)})}
        with (Path(folder) / "up.log").open("wb") as log:
            popen = subprocess.Popen(
                command,
                env={**env, **(settings or {})},
                stdout=log,
                stderr=log,
                # Ctrl-C is for the benchmark, which then stops the stack in order.
                start_new_session=True,
            )
            try:
                _wait_until_ready(popen, Path(folder), ready_within_s)
                yield Stack(popen, Path(folder))
            finally:
                _stop(popen)


@contextmanager
def service(
    *, profile: str = "starter", workers: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run `iconotext up` as `running` does, and yield its URL."""
    with running(profile=profile, workers=workers, settings=settings) as stack:
        yield stack.url


def redis_url(config: Path) -> str:
    """Return the URL of the embedded Valkey that was started with this configuration."""
    words = dict(re.findall(r"^(port|requirepass) (\S+)$", config.read_text(), re.MULTILINE))
    return f"redis://:{words['requirepass']}@127.0.0.1:{words['port']}/0"


def _wait_until_ready(stack: subprocess.Popen[bytes], folder: Path, seconds: float) -> None:
    """Return once every process is ready; fail with the log if that does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and stack.poll() is None:
        if _read(folder / "up.json").get("ready"):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the service did not start:\n{(folder / 'up.log').read_text()}")


def _stop(stack: subprocess.Popen[bytes]) -> None:
    # What was stopped while it held still could not obey.
    if stack.poll() is None:
        for process in [psutil.Process(stack.pid), *psutil.Process(stack.pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        stack.send_signal(signal.SIGTERM)
    try:
        stack.wait(_STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        # Its guardian ends the rest.
        stack.kill()
        raise


def _read(record: Path) -> dict[str, object]:
    try:
        return dict(json.loads(record.read_text()))
    except (ValueError, FileNotFoundError):
        # Caught while it was being written, or before.
        return {}
