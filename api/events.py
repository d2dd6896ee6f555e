"""Waiting for jobs: one thread looks after all of them, however many requests wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from shared.errors import SystemFault
from shared.jobs import Job, JobId, JobState

log = structlog.get_logger()

#: Pause after a look that failed: the database has other worries.
_RETRY_S = 1.0
#: The shortest pause between two looks.
_SHORTEST_S = 0.005
#: An answer may come late by this share of the youngest wait: short jobs are looked after closely.
_LATENESS = 0.1
#: A pause is at least this many times the CPU time of the look before it: many waits make looks dear.
_PATIENCE = 10

_Versions = Mapping[JobId, tuple[int, JobState]]


class Watched(Protocol):
    """What is watched: the store, as far as waiting needs it."""

    def versions(self, ids: Collection[JobId]) -> _Versions:
        """Return version and state of each of these jobs that exists."""

    def many(self, ids: Collection[JobId]) -> Mapping[JobId, Job]:
        """Return each of these jobs that exists."""


@dataclass(slots=True, eq=False)
class _Waiter:
    #: What it still waits for.
    awaited: set[JobId]
    #: Any other version is news; None: only the end is.
    known: int | None
    #: Whether it takes its job along.
    wants_job: bool
    since: float = field(default_factory=time.monotonic)
    woken: threading.Event = field(default_factory=threading.Event)
    job: Job | None = None

    def sees(self, seen: _Versions) -> set[JobId]:
        """Return the jobs of which there is news; one that is gone is news as well."""
        return {job_id for job_id in self.awaited if self._is_news(seen.get(job_id))}

    def _is_news(self, seen: tuple[int, JobState] | None) -> bool:
        if seen is None:
            return True
        version, state = seen
        return state.is_terminal or (self.known is not None and version != self.known)


class Watcher:
    """Wakes requests when the jobs they wait for change."""

    def __init__(self, store: Watched, *, interval: timedelta, seats: int) -> None:
        """Prepare; the thread starts with the first wait, so that a fork before it does no harm.

        Args:
            store: asked for all awaited jobs at once.
            interval: from one look to the next, at most; while somebody has just come, much less.
            seats: how many may wait at a time; more are answered at once, so that waiting never
                takes the last server thread.
        """
        self._store = store
        self._interval_s = interval.total_seconds()
        self._seats = seats
        self._waiters: set[_Waiter] = set()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        #: Somebody came since the last look.
        self._newcomers = False
        self._thread: threading.Thread | None = None

    def wait(self, job_id: JobId, timeout: timedelta, *, known: int | None = None) -> Job | None:
        """Return the job when it is terminal, or its version is no longer `known`.

        None when the time is up, when the job is gone, when every seat is taken, or when the service stops.
        """
        waiter = _Waiter({job_id}, known, wants_job=True)
        self._sit(waiter, timeout)
        return waiter.job

    def wait_for_all(self, job_ids: Collection[JobId], timeout: timedelta) -> None:
        """Return when all of these jobs are terminal, or as `wait` returns None; takes one seat."""
        if job_ids:
            self._sit(_Waiter(set(job_ids), None, wants_job=False), timeout)

    def _sit(self, waiter: _Waiter, timeout: timedelta) -> None:
        with self._changed:
            if self._closing.is_set() or len(self._waiters) >= self._seats:
                return
            self._waiters.add(waiter)
            self._newcomers = True
            self._start()
            self._changed.notify_all()
        try:
            waiter.woken.wait(timeout.total_seconds())
        finally:
            with self._changed:
                self._waiters.discard(waiter)

    def close(self) -> None:
        """Wake everybody and stop."""
        with self._changed:
            self._closing.set()
            for waiter in self._waiters:
                waiter.woken.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while waiters := self._awaited():
            pause_s = self._pause_for(waiters)
            began = time.thread_time()
            try:
                self._look(waiters)
            except SystemFault as error:
                # Those who wait may get their answer yet; when their time is up, the store speaks for itself.
                log.warning("cannot look after jobs", error=error.message)
                pause_s = max(pause_s, _RETRY_S)
            shortest_s = max(_SHORTEST_S, _PATIENCE * (time.thread_time() - began))
            self._pause(shortest_s, max(shortest_s, pause_s))

    def _look(self, waiters: Collection[_Waiter]) -> None:
        """Ask for all awaited jobs, and hand out what ended or changed: two queries at most."""
        # `awaited` changes in this thread only.
        seen = self._store.versions({job_id for waiter in waiters for job_id in waiter.awaited})
        news = [(waiter, found) for waiter in waiters if (found := waiter.sees(seen))]
        wanted = {job_id for waiter, found in news if waiter.wants_job for job_id in found if job_id in seen}
        jobs = self._store.many(wanted) if wanted else {}
        for waiter, found in news:
            waiter.awaited -= found
            if not waiter.awaited:
                waiter.job = next((jobs[job_id] for job_id in found if job_id in jobs), None)
                self._wake(waiter)

    def _wake(self, waiter: _Waiter) -> None:
        with self._changed:
            self._waiters.discard(waiter)
        waiter.woken.set()

    def _awaited(self) -> list[_Waiter]:
        """Return who waits, once somebody does; nobody when the service stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing.is_set() or self._waiters)
            self._newcomers = False
            return [] if self._closing.is_set() else list(self._waiters)

    def _pause_for(self, waiters: Collection[_Waiter]) -> float:
        youngest_s = time.monotonic() - max(waiter.since for waiter in waiters)
        return min(self._interval_s, youngest_s * _LATENESS)

    def _pause(self, shortest_s: float, longest_s: float) -> None:
        """Sleep until the next look is due; a newcomer wakes early, but not at once."""
        self._closing.wait(shortest_s)
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing.is_set() or self._newcomers, timeout=longest_s - shortest_s
            )
