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

    def __init__(
        self, name: str, every: timedelta, step: Callable[[], None], *, wake: threading.Event | None = None
    ) -> None:
        """Take the step.

        Args:
            wake: set by whoever wants the next call at once.
        """
        self._every_s = every.total_seconds()
        self._step = step
        self._wake = wake or threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop after the present call."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closed_after_a_wait():
            attempt(self._step)

    def _is_closed_after_a_wait(self) -> bool:
        self._wake.wait(self._every_s)
        self._wake.clear()
        return self._closing.is_set()


def attempt(*steps: Callable[[], object]) -> None:
    """Take each step; one that fails is logged, and keeps no other from being taken."""
    thread = threading.current_thread().name
    for step in steps:
        try:
            step()
        except (StoreUnavailable, QueueUnavailable, BlobsUnavailable) as error:
            log.warning("skipped a round", thread=thread, code=error.code, reason=error.message)
        except Exception:
            log.exception("skipped a round", thread=thread)
