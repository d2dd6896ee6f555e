"""What nobody else does: end dead leases, meet deadlines, hint again, forget the old."""

from __future__ import annotations

from datetime import timedelta

import structlog

from shared.blobs import BlobStore
from shared.jobs import JobId, WorkerId
from shared.queue import Hints
from shared.store import JobStore

#: The SQL lease row that makes one reconciler of all the leader.
_ROLE = "reconciler"
#: Hints sent for one pool in one round; whoever takes one drains the pool, so a few wake everybody.
_HINTS_A_ROUND = 64

log = structlog.get_logger()


class Reconciler:
    """One round of upkeep; only the leader of all workers does it."""

    def __init__(
        self, store: JobStore, hints: Hints, blobs: BlobStore, worker: WorkerId, every: timedelta
    ) -> None:
        self._store = store
        self._hints = hints
        self._blobs = blobs
        self._worker = worker
        # Two missed rounds, and another worker leads.
        self._term = every * 2

    def round(self) -> None:
        """Do what is due, if this worker leads."""
        if not self._store.lead(_ROLE, self._worker, self._term):
            return
        if count := self._store.expire_leases():
            log.warning("jobs of dead workers were queued again or failed", count=count)
        if count := self._store.expire_deadlines():
            log.info("jobs expired before they began", count=count)
        for file in self._store.purge():
            self._blobs.delete(file)
        self._hint_again()

    def _hint_again(self) -> None:
        """Send hints where Redis holds fewer than there is work: they were lost, or never sent."""
        for pool, waiting in self._store.backlog(_HINTS_A_ROUND).items():
            missing = waiting - self._hints.backlog(pool)
            # The argument names no job in particular: whoever is woken claims the best one.
            self._hints.send(pool, [JobId("")] * max(missing, 0))
