"""Claims for many threads: those that ask at the same time share one statement."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shared.jobs import Claim


class _Asker:
    """One thread that wants a job, and what it got."""

    def __init__(self) -> None:
        self.served = False
        self.claim: Claim | None = None
        self.error: Exception | None = None


class Claimer:
    """Hands out the best queued jobs, one to a thread.

    While one claim is on its way to the database, whoever comes meanwhile waits, and the next claim is for
    all of them: under load the cost of a claim is shared, alone it is as quick as a claim can be.
    """

    def __init__(self, claim: Callable[[int], list[Claim]]) -> None:
        """Take the statement.

        Args:
            claim: returns at most so many jobs, the best first.
        """
        self._claim = claim
        self._waiting: list[_Asker] = []
        #: Guards `_waiting`.
        self._lock = threading.Lock()
        #: Held by whoever claims for the others.
        self._turn = threading.Lock()

    def next(self) -> Claim | None:
        """Return a job of the caller's own, or None when nothing waits.

        Raises:
            StoreUnavailable: the same call may work later.
        """
        asker = _Asker()
        with self._lock:
            self._waiting.append(asker)
        with self._turn:
            if not asker.served:
                self._serve_all()
        if asker.error is not None:
            raise asker.error
        return asker.claim

    def _serve_all(self) -> None:
        with self._lock:
            askers, self._waiting = self._waiting, []
        try:
            claims = self._claim(len(askers))
        except Exception as error:  # noqa: BLE001  each asker raises it in its own thread
            for asker in askers:
                asker.error = error
        else:
            for asker, claim in zip(askers, claims, strict=False):
                asker.claim = claim
        for asker in askers:
            asker.served = True
