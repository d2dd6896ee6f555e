"""Finding work when no hint comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from shared.errors import StoreUnavailable

log = structlog.get_logger()


class Poller:
    """Finds work when no hint comes: Redis is down, or lost what it held."""

    def __init__(self, has_work: Callable[[], bool], drain: Callable[[], object], slots: int) -> None:
        self._has_work = has_work
        self._drain = drain
        self._slots = slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="poller")
        self._running = threading.Semaphore(slots)

    def round(self) -> None:
        """Fill the free slots, as far as the database holds work."""
        for _ in range(self._slots):
            if not self._has_work() or not self._running.acquire(blocking=False):
                return
            self._threads.submit(self._run)

    def close(self) -> None:
        """Wait for the jobs that the poller found."""
        self._threads.shutdown(wait=True)

    def _run(self) -> None:
        try:
            self._drain()
        except StoreUnavailable as error:
            log.warning("cannot claim", reason=error.message)
        except Exception:
            log.exception("cannot claim")
        finally:
            self._running.release()
