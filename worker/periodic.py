"""A step done again and again, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import structlog

from shared.errors import BlobsUnavailable, QueueUnavailable, StoreUnavailable

log = structlog.get_logger()


class Periodic:
    """Calls something again and again from a thread of its own, until closed."""

    def __init__(self, name: str, every: timedelta, step: Callable[[], None]) -> None:
        self._every_s = every.total_seconds()
        self._step = step
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop after the present call."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            try:
                self._step()
            except (StoreUnavailable, QueueUnavailable, BlobsUnavailable) as error:
                log.warning(
                    "skipped a round", thread=self._thread.name, code=error.code, reason=error.message
                )
            except Exception:
                log.exception("skipped a round", thread=self._thread.name)
