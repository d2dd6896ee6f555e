"""The service as a user starts it, for as long as a benchmark needs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: Loading the models on a busy machine takes a tenth of this.
_READY_WITHIN_S = 180.0
_STOPPED_WITHIN_S = 60.0


@contextmanager
def service(
    *, profile: str = "starter", workers: int = 1, settings: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run `iconotext up` on a free port with a data folder of its own, and yield its URL.

    Args:
        settings: `ICONOTEXT_*` variables for the whole stack.
    """
    with tempfile.TemporaryDirectory(prefix="iconotext-bench-") as folder:
        command = [sys.executable, "-m", "client", "up", "--port", "0", "--data-dir", folder]
        command += ["--profile", profile, "--workers", str(workers)]
        with (Path(folder) / "up.log").open("wb") as log:
            stack = subprocess.Popen(command, env={**os.environ, **(settings or {})}, stdout=log, stderr=log)
            try:
                yield _ready(stack, Path(folder))
            finally:
                stack.send_signal(signal.SIGTERM)
                stack.wait(_STOPPED_WITHIN_S)


def _ready(stack: subprocess.Popen[bytes], folder: Path) -> str:
    """Return the URL once every process is ready; fail with the log if that does not come."""
    deadline = time.monotonic() + _READY_WITHIN_S
    record = folder / "up.json"
    while time.monotonic() < deadline and stack.poll() is None:
        if record.exists() and (said := _read(record)).get("ready"):
            return str(said["url"])
        time.sleep(0.1)
    raise RuntimeError(f"the service did not start:\n{(folder / 'up.log').read_text()}")


def _read(record: Path) -> dict[str, object]:
    try:
        return dict(json.loads(record.read_text()))
    except ValueError:
        # Caught while it was being written.
        return {}
