"""The jobs this process holds, kept alive by one thread and watched by another."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from shared.errors import JobTimeout, LeaseLost, StoreUnavailable
from shared.jobs import Claim, JobId, Progress, WorkerId
from shared.store import JobStore
from worker.engine.ticket import Ticket
from worker.pipeline import JobCanceled

#: How soon a change of progress, a cancel or a timeout is noticed, at the latest.
_TICK_S = 0.5
#: Looks between two beats, at least: a beat that comes so much late is still far from the end of the lease.
_TICKS_A_BEAT = 4
#: At the end, how long a statement is waited for that the database may never answer.
_LAST_STATEMENT_S = 5.0
#: A process that a debugger or a slow disk held up for a moment is not stuck.
_SHORTEST_STUCK_S = 2.0

log = structlog.get_logger()


@dataclass(slots=True)
class Held:
    """One claim while it runs: the ticket that stops it, the progress that others see."""

    claim: Claim
    ticket: Ticket
    started: float
    progress: Progress = field(default_factory=Progress)
    reported: Progress = field(default_factory=Progress)
    #: It was stopped because the database did not answer, and for nothing that the job did.
    is_cut_off: bool = False


class Heartbeat:
    """Renews the leases of every held job in one statement, and stops the jobs that must not go on.

    A worker that cannot renew for two thirds of a lease stops its own jobs, before another may take them.
    That is seen by a thread that never asks the database: a frozen one leaves whoever asks it waiting.
    """

    def __init__(
        self,
        store: JobStore,
        worker: WorkerId,
        *,
        lease: timedelta,
        interval: timedelta,
        stuck_after: timedelta,
        device_progress: Callable[[], float],
        announce: Callable[[], None],
        on_device: Callable[[Ticket], bool] = lambda _: False,
        grace: timedelta = timedelta(seconds=30),
    ) -> None:
        """Take the store and the device's sign of life.

        Args:
            stuck_after: a model call longer than this ends the process.
            device_progress: `time.monotonic()` of the device thread's last sign of life.
            on_device: whether the model call in progress works for this ticket's job.
            grace: how long a model call may outlast the time of a job that it works for.
            announce: tells the store that this worker lives; called with every beat.
        """
        self._store = store
        self._worker = worker
        self._fence_after_s = lease.total_seconds() * 2 / 3
        self._interval_s = interval.total_seconds()
        self._tick_s = min(_TICK_S, self._interval_s / _TICKS_A_BEAT)
        self._stuck_after_s = stuck_after.total_seconds()
        self._device_progress = device_progress
        self._on_device = on_device
        self._grace_s = grace.total_seconds()
        #: Since when the model call in progress works for a job whose time is up; None: it does not.
        self._overdue_since: float | None = None
        self._announce = announce
        self._held: dict[JobId, Held] = {}
        self._lock = threading.Lock()
        self._end: Exception | None = None
        self._closing = threading.Event()
        self._renewed = time.monotonic()
        #: When the first of the statements was sent that nobody has answered yet; None: all were.
        self._asked: float | None = None
        #: When the database began to answer, after it did not or before this was known.
        self._back = time.monotonic()
        self._thread = threading.Thread(target=self._beat_until_closed, name="heartbeat", daemon=True)
        self._watch = threading.Thread(target=self._watch_until_closed, name="lease-watch", daemon=True)

    def start(self) -> None:
        self._announce()
        # Now: the first job may hold the process before the watch has come by once.
        self._arm()
        self._thread.start()
        self._watch.start()

    def close(self) -> None:
        """Stop beating; whatever is still held keeps its lease until that runs out."""
        self._closing.set()
        self._watch.join()
        self._thread.join(_LAST_STATEMENT_S)

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[Held]:
        """Keep the claim's lease while the block runs."""
        held = Held(claim, Ticket(alone=claim.alone, priority=claim.priority), time.monotonic())
        with self._lock:
            self._held[claim.id] = held
            if self._end is not None:
                held.ticket.stop(self._end)
        try:
            yield held
        finally:
            with self._lock:
                # A successor attempt of the same job may have begun here meanwhile.
                if self._held.get(claim.id) is held:
                    del self._held[claim.id]

    def stop_all(self, reason: Exception) -> None:
        """Stop every held job, and each that is held from now on."""
        with self._lock:
            self._end = reason
            for held in self._held.values():
                held.ticket.stop(reason)

    def _beat_until_closed(self) -> None:
        due = time.monotonic()
        while not self._closing.wait(self._tick_s):
            now = time.monotonic()
            held = self._snapshot()
            changed = any(one.progress != one.reported for one in held)
            if now < due and not changed:
                continue
            self._asked = self._asked or now
            try:
                self._renew(held)
                if now >= due:
                    self._announce()
                    due = now + self._interval_s
            except StoreUnavailable as error:
                log.warning("heartbeat failed", error=str(error), held=len(held))
            except Exception:
                log.exception("heartbeat failed", held=len(held))
            else:
                self._note_answer(time.monotonic())

    def _watch_until_closed(self) -> None:
        while not self._closing.wait(self._tick_s):
            self._arm()
            now = time.monotonic()
            held = self._snapshot()
            self._exit_if_stuck(now)
            self._stop_late(held, now)
            self._fence(held, now)
        faulthandler.cancel_dump_traceback_later()

    def _arm(self) -> None:
        """Have the process end if this thread does not come by again in time.

        Native code that keeps the interpreter's lock lets no Python run, not even this; a thread of
        faulthandler's needs none.
        """
        limit_s = max(self._stuck_after_s, _SHORTEST_STUCK_S)
        faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.__stderr__ or sys.stderr)

    def is_steady(self) -> bool:
        """Return whether the database has answered for so long that all living workers were heard.

        They ask it at the same pace. While it was away, leases ran out that nobody could renew; whoever ended
        them before their workers were heard would take the work of a whole fleet away.
        """
        return self._asked is None and time.monotonic() - self._back > self._interval_s

    def _note_answer(self, now: float) -> None:
        if self._asked is not None and now - self._asked > self._tick_s:
            self._back = now
        self._asked = None

    def _snapshot(self) -> list[Held]:
        with self._lock:
            return list(self._held.values())

    def _renew(self, held: list[Held]) -> None:
        beginning = time.monotonic()
        if held:
            sent = {one.claim.id: one.progress for one in held}
            answer = self._store.heartbeat(
                self._worker, {one.claim.id: one.claim.attempt for one in held}, sent
            )
            for one in held:
                one.reported = sent[one.claim.id]
                if one.claim.id in answer.lost:
                    one.ticket.stop(LeaseLost("another worker has taken this job over"))
                elif one.claim.id in answer.canceling:
                    one.ticket.stop(JobCanceled("cancelled by its owner"))
        # The lease runs from the database's receipt, which is not before the statement was sent.
        self._renewed = beginning

    def _stop_late(self, held: list[Held], now: float) -> None:
        for one in held:
            limit = one.claim.timeout
            if limit is not None and now - one.started > limit.total_seconds():
                if self._on_device(one.ticket):
                    self._overdue_since = self._overdue_since or now
                one.ticket.stop(JobTimeout(f"ran longer than its timeout of {limit.total_seconds():g} s"))

    def _fence(self, held: list[Held], now: float) -> None:
        # Not by the lease alone: a process that was itself stopped has only now asked, and may be in time.
        asked = self._asked
        has_waited = asked is not None and now - asked > self._tick_s
        if has_waited and now - self._renewed > self._fence_after_s:
            for one in held:
                one.is_cut_off = True
                one.ticket.stop(LeaseLost("this worker could not renew its lease"))

    def _exit_if_stuck(self, now: float) -> None:
        """End the process when the device thread gave no sign of life: no Python code can free it."""
        progress = self._device_progress()
        if self._overdue_since is not None and progress > self._overdue_since:
            self._overdue_since = None
        silent_s = now - progress
        overdue_s = 0.0 if self._overdue_since is None else now - self._overdue_since
        if silent_s > self._stuck_after_s or overdue_s > self._grace_s:
            log.error("the device does not answer, this worker ends", silent_s=round(silent_s, 1))
            faulthandler.dump_traceback(sys.stderr)
            os._exit(os.EX_SOFTWARE)
