"""A process that has grown too large ends itself, in order, and its supervisor starts another."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import structlog

#: The exit status of a worker that recycled itself: EX_TEMPFAIL, "start me again".
RECYCLED = os.EX_TEMPFAIL

log = structlog.get_logger()


class Recycler:
    """Ends the process once its memory has passed a mark; Celery's warm shutdown drains it first."""

    def __init__(
        self,
        mark_bytes: int,
        *,
        resident_bytes: Callable[[], int],
        end: Callable[[], object] = lambda: os.kill(os.getpid(), signal.SIGTERM),
    ) -> None:
        """Take the mark.

        Args:
            mark_bytes: what the process and nothing else may hold.
            resident_bytes: what it holds now.
            end: asks the process to take no more jobs, finish those in flight, and exit.
        """
        self._mark_bytes = mark_bytes
        self._resident_bytes = resident_bytes
        self._end = end
        #: Whether this process ends because it grew.
        self.recycled = False

    def round(self) -> None:
        """Look once; past the mark, begin the end."""
        held = self._resident_bytes()
        if self.recycled or held <= self._mark_bytes:
            return
        self.recycled = True
        log.warning("memory passed its mark, this worker makes room for another", held=held)
        self._end()
