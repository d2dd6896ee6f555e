"""Outcomes on their way into the database, however long it is away."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable

import structlog

from shared.errors import LeaseLost, StoreUnavailable
from shared.failpoints import Failpoint, Failpoints
from shared.jobs import Claim, JobState, Json

#: Between two tries, in seconds: the first pause, and the longest, each with jitter of one half.
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

log = structlog.get_logger()

#: Writes an outcome down and returns the job's state; fenced, so that it may be tried again.
Write = Callable[[], JobState]


class Settler:
    """Writes outcomes down, and keeps those that the database will not take yet."""

    def __init__(self, failpoints: Failpoints) -> None:
        self._failpoints = failpoints
        self._given_up = threading.Event()
        #: Guards the counts.
        self._lock = threading.Lock()
        self._settled: Counter[str] = Counter()
        self._counts = Counter({"fenced": 0, "spooled": 0, "released": 0})

    def settle(self, claim: Claim, write: Write) -> None:
        """Return once the outcome is written, or the job is another's, or the process has no time left.

        A claim whose lease ran out holds as long as nobody took the job away, so a late outcome still counts.

        Raises:
            Exception: what the outcome itself does wrong; nothing of it is written.
        """
        pauses_s = 0.0
        while True:
            try:
                self._failpoints.hit(Failpoint.AFTER_COMPUTE)
                state = write()
                self._failpoints.hit(Failpoint.AFTER_COMMIT)
            except LeaseLost as error:
                self._note_lost(error, is_first=not pauses_s)
                return
            except StoreUnavailable as error:
                if not pauses_s:
                    self._note_spooled(error)
                pauses_s = min(max(2 * pauses_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                if self._given_up.wait(pauses_s * random.uniform(0.5, 1.5)):  # noqa: S311  # spreads load
                    log.warning("no time left to settle: the lease will end, another attempt follows")
                    return
            else:
                self._note_settled(claim, state, is_late=pauses_s > 0)
                return

    def give_up(self) -> None:
        """Keep no outcome any longer: the process ends."""
        self._given_up.set()

    def count_release(self) -> None:
        """Count a job that is given back because of what it needs, not of what it is."""
        with self._lock:
            self._counts["released"] += 1

    def as_json(self) -> Json:
        """Return what became of the outcomes since the process began.

        `settled`: jobs that ended, by pool; `fenced`: outcomes dropped, since another worker had the job;
        `spooled`: outcomes that had to wait for the database; `released`: jobs given back, blameless.
        """
        with self._lock:
            return {"settled": dict(self._settled), **self._counts}

    def _note_lost(self, error: LeaseLost, *, is_first: bool) -> None:
        if not is_first:
            # The database may have done as it was told, and its answer got lost: then the fence that this
            # try met was left by the first one.
            log.warning("the outcome was settled before, by this worker or another", reason=error.message)
            return
        log.warning("lease lost, the outcome is dropped", reason=error.message)
        with self._lock:
            self._counts["fenced"] += 1

    def _note_spooled(self, error: StoreUnavailable) -> None:
        log.warning("cannot settle yet, the outcome is kept", reason=error.message)
        with self._lock:
            self._counts["spooled"] += 1

    def _note_settled(self, claim: Claim, state: JobState, *, is_late: bool) -> None:
        if is_late:
            log.info("settled after all", state=state.value)
        else:
            log.info("settled", state=state.value)
        if state.is_terminal:
            with self._lock:
                self._settled[claim.pool] += 1
