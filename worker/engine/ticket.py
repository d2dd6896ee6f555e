"""One running job's handle: how the engine learns that the job stopped, and the job what it cost."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shared.jobs import Priority
from worker.models.capabilities import ModelCard


class Ticket:
    """One attempt at one job, shared by the runner, the decoder and the engine."""

    def __init__(self, *, alone: bool = False, priority: Priority = Priority.NORMAL) -> None:
        #: Whose items leave first where several compete for the device.
        self.priority = priority
        #: The job's batches hold nothing of other jobs, and nothing else runs meanwhile.
        self.alone = alone
        #: The largest batch that answered any of the job's items.
        self.largest_batch = 0
        #: Wall time of the batches that the job took part in; neighbours count the same seconds too.
        self.model_seconds = 0.0
        #: The model that the job used behind each capability, by the capability's name.
        self.models: dict[str, ModelCard] = {}
        self._reason: Exception | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    @property
    def stopped(self) -> bool:
        return self._reason is not None

    def stop(self, reason: Exception) -> None:
        """Make `check`, and whatever waits on this ticket, raise `reason`; the first reason stays."""
        with self._lock:
            self._reason = self._reason or reason
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the reason once the ticket is stopped."""
        if self._reason is not None:
            raise self._reason

    def charge(self, seconds: float, answered: int) -> None:
        """Book a model call that the job took part in, and the items that it answered; 0: it failed."""
        self.model_seconds += seconds
        self.largest_batch = max(self.largest_batch, answered)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Block until `happened()`, asked again at each `wake`; raise the reason once stopped."""
        with self._lock:
            self._changed.wait_for(lambda: self.stopped or happened())
        self.check()

    def wake(self) -> None:
        """Have the waiter look again."""
        with self._lock:
            self._changed.notify_all()
