"""Waiting for jobs: one thread and one query per tick, however many requests wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from shared.errors import SystemFault
from shared.jobs import JobId, JobState

log = structlog.get_logger()

#: Pause after a look that failed: the database has other worries.
_RETRY_S = 1.0
#: The shortest pause between two looks.
_SHORTEST_S = 0.01
#: An answer may come late by this share of the youngest wait: short jobs are looked after closely.
_LATENESS = 0.1


class Versions(Protocol):
    """What is watched: the store, as far as waiting needs it."""

    def versions(self, ids: Collection[JobId]) -> Mapping[JobId, tuple[int, JobState]]:
        """Return version and state of each of these jobs that exists."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    job_id: JobId
    #: Any other version is news; None: only the end is.
    known: int | None
    since: float = field(default_factory=time.monotonic)
    woken: threading.Event = field(default_factory=threading.Event)

    def is_served_by(self, seen: tuple[int, JobState] | None) -> bool:
        if seen is None:
            return True
        version, state = seen
        return state.is_terminal or (self.known is not None and version != self.known)


class Watcher:
    """Wakes requests when the jobs they wait for change."""

    def __init__(self, store: Versions, *, interval: timedelta, seats: int) -> None:
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
        self._closed = False
        #: Somebody came since the last look.
        self._newcomers = False
        self._thread: threading.Thread | None = None

    def wait(self, job_id: JobId, timeout: timedelta, *, known: int | None = None) -> None:
        """Return when the job is terminal, or its version is no longer `known`, or the time is up.

        Also returns at once when every seat is taken, or the service stops.
        """
        waiter = _Waiter(job_id, known)
        with self._changed:
            if self._closed or len(self._waiters) >= self._seats:
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
            self._closed = True
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
            try:
                seen = self._store.versions({waiter.job_id for waiter in waiters})
            except SystemFault as error:
                # Those who wait may get their answer yet; when their time is up, the store speaks for itself.
                log.warning("cannot look after jobs", error=error.message)
                pause_s = max(pause_s, _RETRY_S)
            else:
                for waiter in waiters:
                    if waiter.is_served_by(seen.get(waiter.job_id)):
                        waiter.woken.set()
            self._pause(pause_s)

    def _awaited(self) -> list[_Waiter]:
        """Return who waits, once somebody does; nobody when the service stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiters)
            self._newcomers = False
            return [] if self._closed else list(self._waiters)

    def _pause_for(self, waiters: Collection[_Waiter]) -> float:
        youngest_s = time.monotonic() - max(waiter.since for waiter in waiters)
        return min(self._interval_s, max(_SHORTEST_S, youngest_s * _LATENESS))

    def _pause(self, seconds: float) -> None:
        """Sleep until the next look is due; a newcomer wakes early, but not at once."""
        until = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout=min(seconds, _SHORTEST_S))
            self._changed.wait_for(
                lambda: self._closed or self._newcomers, timeout=max(0.0, until - time.monotonic())
            )
