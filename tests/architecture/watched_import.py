"""Import modules and print, as JSON, what they did besides: `python watched_import.py FOLDER MODULE...`.

FOLDER holds the packages. An act counts when code under FOLDER caused it; what a third-party module does
while it is itself being imported is not ours.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

PACKAGES = ("api", "client", "shared", "worker")
EVENTS = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.mkdir",
        "os.posix_spawn",
        "os.system",
        "socket.__new__",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "sqlite3.connect",
        "subprocess.Popen",
        "tempfile.mkdtemp",
        "tempfile.mkstemp",
    }
)

folder = str(Path(sys.argv[1]).resolve())
ours = tuple(f"{folder}/{package}/" for package in PACKAGES)
acts: list[dict[str, str]] = []


def record(act: str) -> None:
    """Note an act, unless an import of a third party's module stands between it and our code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return
        if file.startswith(ours):
            acts.append({"act": act, "where": f"{file[len(folder) + 1 :]}:{frame.f_lineno}"})
            return
        frame = frame.f_back


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in EVENTS:
        record(event)
    elif event == "open" and arguments[2] and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        record("open for writing")


start_thread = Thread.start


def start(thread: Thread) -> None:
    """Start a thread; Python before 3.12 raises no audit event for it."""
    record("thread")
    start_thread(thread)


class WatchedEnvironment(type(os.environ)):  # type: ignore[misc]
    """Tells of our own variables being read, and of all of them being read."""

    def __getitem__(self, key: str) -> str:
        if key.startswith("ICONOTEXT_"):
            record(f"environment {key}")
        value: str = super().__getitem__(key)
        return value

    def __iter__(self) -> Iterator[str]:
        record("environment")
        names: Iterator[str] = super().__iter__()
        return names


os.environ.__class__ = WatchedEnvironment
Thread.start = start  # type: ignore[assignment, method-assign]
sys.path.insert(0, folder)
sys.addaudithook(audit)
for name in sys.argv[2:]:
    importlib.import_module(name)
sys.stdout.write(json.dumps(acts))
