"""The whole service as real processes, started as a user starts it, with stand-in models."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from client import Client

#: Seconds that a claim holds without a heartbeat.
LEASE_S = 4.0
_ENV = {
    "ICONOTEXT_PROFILE": "fake",
    "ICONOTEXT_LEASE": str(LEASE_S),
    "ICONOTEXT_RECONCILE": "0.5",
    "ICONOTEXT_POLL": "0.5",
    "ICONOTEXT_BLOB_GRACE": "5",
}
_START_S = 90.0
_STOP_S = 45.0


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return when the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it never came true in {seconds:g} s"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Tell whether a process has ended; one that nobody reaped has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Up:
    """A running `iconotext up`."""

    def __init__(self, data_dir: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.env = {**os.environ, **_ENV, **(env or {})}
        self._output = data_dir.with_suffix(".out")
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "client", "up", "--port", "0", "--data-dir", str(data_dir), *options],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, seconds: float = _START_S) -> Up:
        def check() -> bool:
            assert self.process.poll() is None, self.output
            return bool(self.record.get("ready"))

        eventually(check, seconds)
        return self

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def record(self) -> dict[str, Any]:
        """Return what it wrote down of itself; nothing before that and afterwards."""
        try:
            record: dict[str, Any] = json.loads((self.data_dir / "up.json").read_text())
        except FileNotFoundError:
            return {}
        return record if record["pid"] == self.process.pid else {}

    @property
    def url(self) -> str:
        return str(self.record["url"])

    def pid(self, name: str) -> int:
        """Return the id of the process of this name; 0 while it has none."""
        return int(self.record["processes"].get(name, 0))

    def everybody(self) -> list[int]:
        """Return the ids of all its processes and theirs."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]

    def client(self) -> Client:
        return Client(self.url)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `iconotext` against it."""
        argv = [sys.executable, "-m", "client", "--url", self.url, *words]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=60, check=False)

    def valkey(self) -> redis.Redis:
        config = (self.data_dir / "valkey" / "valkey.conf").read_text()
        port, password = re.findall(r"^(?:port|requirepass) (\S+)$", config, re.MULTILINE)
        return redis.Redis(port=int(port), password=password, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop it and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(_STOP_S)


def end(ups: Sequence[Up]) -> None:
    """Stop all, and fail when one leaves a process behind."""
    for up in ups:
        everybody = up.everybody() if up.process.poll() is None else []
        with contextlib.suppress(subprocess.TimeoutExpired):
            up.stop()
        left = [pid for pid in everybody if not gone(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"{left} outlived the stack: {up.output}"


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a stack that all tests of the session share; they leave it as they found it."""
    started = Up(tmp_path_factory.mktemp("shared") / "data")
    try:
        yield started.wait_until_ready()
    finally:
        end([started])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Return what starts a stack of the test's own."""
    started: list[Up] = []

    def make(*options: str, name: str = "data", **env: str) -> Up:
        started.append(Up(tmp_path / name, *options, env=env))
        return started[-1]

    try:
        yield make
    finally:
        end(started)


@pytest.fixture
def client(up: Up) -> Iterator[Client]:
    with up.client() as made:
        yield made


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    """Return pictures of one colour each, by its name."""
    image = pytest.importorskip("PIL.Image")
    colours = {"red": (220, 30, 30), "blue": (40, 70, 200), "green": (30, 160, 60)}
    found = {}
    for name, colour in colours.items():
        found[name] = tmp_path / f"{name}.png"
        image.new("RGB", (64, 48), colour).save(found[name])
    return found
