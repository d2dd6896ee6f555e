"""Waiting for jobs: one thread looks after all of them, however many requests wait."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from socket import socket
from typing import Protocol

import structlog

from api.seats import Seats
from shared.errors import NotFound, SystemFault
from shared.jobs import LOCAL, Job, JobId, JobState, TenantId

log = structlog.get_logger()

#: Pause after a look that failed: the database has other worries.
_RETRY_S = 1.0
#: The shortest pause between two looks.
_SHORTEST_S = 0.005
#: An answer may come late by this share of the youngest wait: short jobs are looked after closely.
_LATENESS = 0.1
#: A pause is at least this many times the CPU time of the look before it: many waits make looks dear.
_PATIENCE = 10

#: The caller's side is closed, wholly or for sending; Linux tells of the latter.
_HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

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
    #: What it waited for is no more.
    is_gone: bool = False

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
        self._seats = Seats(seats)
        self._lines = _Lines()
        self._waiters: set[_Waiter] = set()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        #: Somebody came since the last look.
        self._newcomers = False
        self._thread: threading.Thread | None = None

    def wait(
        self,
        job_id: JobId,
        timeout: timedelta,
        *,
        known: int | None = None,
        owner: TenantId = LOCAL,
        line: socket | None = None,
    ) -> Job | None:
        """Return the job when it is terminal, or its version is no longer `known`.

        None when the time is up, when the job is gone, when the owner finds no seat, when the caller hangs
        up, or when the service stops.

        Args:
            line: the caller's connection, where the server shows it.
        """
        waiter = _Waiter({job_id}, known, wants_job=True)
        with self.seat(owner) as is_seated:
            if is_seated:
                self._sit(waiter, timeout, line)
        return waiter.job

    def wait_for_all(
        self,
        job_ids: Collection[JobId],
        timeout: timedelta,
        *,
        owner: TenantId = LOCAL,
        line: socket | None = None,
    ) -> None:
        """Return when all of these jobs are terminal, or as `wait` returns None; takes one seat."""
        with self.seat(owner) as is_seated:
            if job_ids and is_seated:
                self._sit(_Waiter(set(job_ids), None, wants_job=False), timeout, line)

    @contextmanager
    def seat(self, owner: TenantId) -> Iterator[bool]:
        """Take a seat for a tenant, to be left at the end; tell whether there was one."""
        is_seated = not self._closing.is_set() and self._seats.take(owner)
        try:
            yield is_seated
        finally:
            if is_seated:
                self._seats.leave(owner)

    def news(
        self, job_id: JobId, timeout: timedelta, *, known: int, line: socket | None = None
    ) -> Job | None:
        """Return the job when its version is no longer `known`; None when the time is up. Whoever calls sits.

        Raises:
            NotFound: the job is gone.
        """
        waiter = _Waiter({job_id}, known, wants_job=True)
        self._sit(waiter, timeout, line)
        if waiter.is_gone:
            raise NotFound(f"there is no job {job_id}")
        return waiter.job

    def is_over(self, line: socket | None) -> bool:
        """Return whether nobody is to be told any more: the service stops, or the caller has hung up."""
        return self._closing.is_set() or (line is not None and self._lines.is_dead(line))

    def pause(self, seconds: float) -> None:
        """Sleep, less when the service stops."""
        self._closing.wait(seconds)

    def _sit(self, waiter: _Waiter, timeout: timedelta, line: socket | None) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            self._waiters.add(waiter)
            number = self._lines.add(line, waiter)
            self._newcomers = True
            self._start()
            self._changed.notify_all()
        try:
            waiter.woken.wait(timeout.total_seconds())
        finally:
            with self._changed:
                self._waiters.discard(waiter)
                self._lines.drop(number)

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
        for waiter in self._lines.dead():
            self._wake(waiter)
        # `awaited` changes in this thread only.
        seen = self._store.versions({job_id for waiter in waiters for job_id in waiter.awaited})
        news = [(waiter, found) for waiter in waiters if (found := waiter.sees(seen))]
        wanted = {job_id for waiter, found in news if waiter.wants_job for job_id in found if job_id in seen}
        jobs = self._store.many(wanted) if wanted else {}
        for waiter, found in news:
            waiter.awaited -= found
            if not waiter.awaited:
                waiter.job = next((jobs[job_id] for job_id in found if job_id in jobs), None)
                waiter.is_gone = waiter.job is None
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


class _Lines:
    """The connections of those who wait; asks the system which of them were hung up."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._waiters: dict[int, _Waiter] = {}

    def add(self, line: socket | None, waiter: _Waiter) -> int:
        """Return the number to drop it by; below 0: there is no connection to look at."""
        number = -1 if line is None else line.fileno()
        if number >= 0:
            self._waiters[number] = waiter
            self._poll.register(number, _HUNG_UP)
        return number

    def drop(self, number: int) -> None:
        if number >= 0:
            del self._waiters[number]
            self._poll.unregister(number)

    def dead(self) -> list[_Waiter]:
        """Return those whose callers are gone; asked by one thread only."""
        if not self._waiters:
            return []
        found = (self._waiters.get(number) for number, _ in self._poll.poll(0))
        return [waiter for waiter in found if waiter is not None]

    def is_dead(self, line: socket) -> bool:
        if line.fileno() < 0:
            return True
        asked = select.poll()
        asked.register(line, _HUNG_UP)
        return bool(asked.poll(0))
