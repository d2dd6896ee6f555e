"""What nobody else does: end dead leases, meet deadlines, hint again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from shared.jobs import JobId, WorkerId
from shared.queue import Hints
from shared.store import JobStore
from worker.periodic import attempt

#: The SQL lease row that makes one reconciler of all the leader.
_ROLE = "reconciler"
#: Hints sent for one pool in one round; whoever takes one drains the pool, so a few wake everybody.
_HINTS_A_ROUND = 64

log = structlog.get_logger()


class Reconciler:
    """One round of upkeep; only the leader of all workers does it."""

    def __init__(
        self,
        store: JobStore,
        hints: Hints,
        worker: WorkerId,
        every: timedelta,
        *,
        may_end_leases: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take the store and the queue.

        Args:
            every: between two rounds.
            may_end_leases: asked first; not as long as living workers may not have been heard.
        """
        self._store = store
        self._hints = hints
        self._worker = worker
        self._may_end_leases = may_end_leases
        # Two missed rounds, and another worker leads.
        self._term = every * 2
        #: Whether this worker led when it last asked; another may lead by now.
        self.leads = False

    def round(self) -> None:
        """Do what is due, if this worker leads."""
        self.leads = False
        self.leads = self._store.lead(_ROLE, self._worker, self._term)
        if self.leads:
            attempt(self._end_leases, self._meet_deadlines, self._hint_again)

    def _end_leases(self) -> None:
        if self._may_end_leases() and (count := self._store.expire_leases()):
            log.warning("jobs of dead workers were queued again or failed", count=count)

    def _meet_deadlines(self) -> None:
        if count := self._store.expire_deadlines():
            log.info("jobs expired before they began", count=count)

    def _hint_again(self) -> None:
        """Send hints where Redis holds fewer than there is work: they were lost, or never sent."""
        for pool, waiting in self._store.backlog(_HINTS_A_ROUND).items():
            missing = waiting - self._hints.backlog(pool)
            # The argument names no job in particular: whoever is woken claims the best one.
            self._hints.send(pool, [JobId("")] * max(missing, 0))
