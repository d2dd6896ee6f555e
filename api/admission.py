"""Whether more may be accepted: as long as less waits than the marks say."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from api.rates import DrainRate
from api.settings import ApiSettings
from shared.errors import Overloaded, StoreUnavailable, TooManyJobs
from shared.jobs import Json, TenantId, WorkerId
from shared.store import Load

#: Between two looks at what waits, at least, in seconds.
_FRESH_S = 0.5
#: And so many times what a look takes: 200,000 waiting jobs take 15 ms on SQLite, more on PostgreSQL.
_PAUSE_PER_LOOK = 50
#: The share of a mark below which a refused caller is told to come back.
_ROOMY = 0.9
#: The share of a mark above which the workers' speed is measured.
_NEAR = 0.5
#: `Retry-After`, in seconds: while nothing is known of the workers' speed, and at most.
_UNKNOWN_S = 10
_LONGEST_S = 300
#: Callers that are refused together must not come back together: each waits up to so much less or more.
_SPREAD = 0.2

_NOTHING = Load()


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """How much may wait."""

    jobs: int
    bytes: int

    def refuses(self, load: Load, *, jobs: int, size: int) -> bool:
        """Return whether so many more jobs of so many bytes are too much beside what waits."""
        if load.jobs + jobs > self.jobs:
            return True
        # One film may be larger than the mark: it is taken when nothing else waits.
        return load.jobs > 0 and load.bytes + max(size, 1) > self.bytes

    def are_near(self, load: Load) -> bool:
        """Return whether it may soon matter how fast the workers are."""
        return load.jobs > self.jobs * _NEAR or load.bytes > self.bytes * _NEAR

    def excess(self, load: Load, *, jobs: int, size: int) -> int:
        """Return how many of the waiting jobs must be started before there is room again."""
        by_jobs = load.jobs + jobs - self.jobs * _ROOMY
        by_bytes = (load.bytes + size - self.bytes * _ROOMY) * load.jobs / max(load.bytes, 1)
        return max(1, round(min(max(by_jobs, by_bytes), load.jobs)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What waits, as far as this process knows."""

    load: Load
    marks: Marks


class Admission:
    """The marks, and a view of what waits that is half a second old as a rule. Thread-safe.

    What this process accepts counts at once, what others accept with the next look. A store that cannot be
    asked is none of its business: then nothing can be stored either, and the submit says so.
    """

    def __init__(
        self,
        settings: ApiSettings,
        *,
        load: Callable[[], Mapping[TenantId, Load]],
        workers: Callable[[], list[tuple[WorkerId, Json]]],
        queued_jobs: Callable[[TenantId], int | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Take the marks, and whom to ask.

        Args:
            load: `JobStore.queued_load`.
            workers: what each living worker says of itself.
            queued_jobs: how many jobs of a tenant may wait, where it has a mark of its own.
            clock: seconds.
            spread: a random number between two.
        """
        self._of_tenant = Marks(jobs=settings.max_queued_jobs, bytes=settings.max_queued_bytes)
        self._of_all = Marks(jobs=settings.max_queued_jobs_of_all, bytes=settings.max_queued_bytes_of_all)
        self._ask_load = load
        self._ask_workers = workers
        self._queued_jobs = queued_jobs
        self._clock = clock
        self._spread = spread
        self._rate = DrainRate()
        self._lock = threading.Lock()
        #: Held by the one that looks.
        self._looking = threading.Lock()
        self._stale_at = -1.0
        self._looked: Mapping[TenantId, Load] = {}
        self._tally = _Tally()

    def check(self, owner: TenantId) -> None:
        """Return when there is room for one more job of a tenant.

        Raises:
            TooManyJobs, Overloaded: there is none; its `retry_after_s` says when there may be.
        """
        self._refresh()
        marks = self._marks_of(owner)
        with self._lock:
            self._require(owner, marks, jobs=1, size=0)

    @contextmanager
    def room(self, owner: TenantId, *, jobs: int, size: int) -> Iterator[None]:
        """Keep room for jobs while they are stored; when that fails, others may have it.

        Args:
            size: bytes of the files that they name.

        Raises:
            TooManyJobs, Overloaded: not all of them have room.
        """
        self._refresh()
        marks = self._marks_of(owner)
        with self._lock:
            if jobs:
                self._require(owner, marks, jobs=jobs, size=size)
            self._tally.reserve(owner, jobs, size)
        is_stored = False
        try:
            yield
            is_stored = True
        finally:
            with self._lock:
                self._tally.settle(owner, jobs, size, is_stored=is_stored)

    def waiting(self) -> Waiting:
        """Return what waits of all tenants, and how much of it may."""
        self._refresh()
        with self._lock:
            return Waiting(load=self._total(), marks=self._of_all)

    def _marks_of(self, owner: TenantId) -> Marks:
        jobs = self._queued_jobs(owner)
        return self._of_tenant if jobs is None else replace(self._of_tenant, jobs=jobs)

    def _require(self, owner: TenantId, marks: Marks, *, jobs: int, size: int) -> None:
        own = self._tally.beside(self._looked.get(owner, _NOTHING), owner)
        if marks.refuses(own, jobs=jobs, size=size):
            words = _words("of yours wait", own, marks, jobs)
            # Its jobs are started in turn with those of the others.
            share = 1 / max(len(self._looked), 1)
            after_s = self._retry_after(marks.excess(own, jobs=jobs, size=size), share)
            raise TooManyJobs(words, retry_after_s=after_s)
        total = self._total()
        if self._of_all.refuses(total, jobs=jobs, size=size):
            words = _words("wait in all", total, self._of_all, jobs)
            after_s = self._retry_after(self._of_all.excess(total, jobs=jobs, size=size), 1.0)
            raise Overloaded(words, retry_after_s=after_s)

    def _total(self) -> Load:
        return self._tally.beside(_sum(self._looked))

    def _retry_after(self, excess: int, share: float) -> int:
        rate = self._rate.per_second()
        wait_s = _UNKNOWN_S if rate is None else excess / (rate * share)
        wait_s = min(wait_s, _LONGEST_S / (1 + _SPREAD))
        return max(1, round(wait_s * self._spread(1 - _SPREAD, 1 + _SPREAD)))

    def _refresh(self) -> None:
        """Look at the store, unless somebody did lately or does now."""
        if self._clock() < self._stale_at or not self._looking.acquire(blocking=False):
            return
        try:
            self._look()
        finally:
            self._looking.release()

    def _look(self) -> None:
        began = self._clock()
        with self._lock:
            self._tally.begin_look()
        try:
            looked = self._ask_load()
            workers = self._ask_workers() if self._are_near(looked) else None
        except StoreUnavailable:
            # What was known is the best there is.
            with self._lock:
                self._stale_at = self._pause_from(began)
            return
        with self._lock:
            self._looked = looked
            self._tally.end_look()
            if workers is not None:
                self._rate.note(workers)
            self._stale_at = self._pause_from(began)

    def _are_near(self, looked: Mapping[TenantId, Load]) -> bool:
        return self._of_all.are_near(_sum(looked)) or any(map(self._of_tenant.are_near, looked.values()))

    def _pause_from(self, began: float) -> float:
        now = self._clock()
        return now + max(_FRESH_S, (now - began) * _PAUSE_PER_LOOK)


class _Tally:
    """What this process accepted that the last look may not have seen; by tenant, and of all under None."""

    def __init__(self) -> None:
        #: Being stored.
        self._reserved = _Loads()
        #: Stored since the last look that succeeded began.
        self._stored = _Loads()
        #: Stored since the look that is under way began: the next `_stored`.
        self._newer = _Loads()

    def reserve(self, owner: TenantId, jobs: int, size: int) -> None:
        self._reserved.add(owner, jobs, size)

    def settle(self, owner: TenantId, jobs: int, size: int, *, is_stored: bool) -> None:
        self._reserved.add(owner, -jobs, -size)
        if is_stored:
            self._stored.add(owner, jobs, size)
            self._newer.add(owner, jobs, size)

    def begin_look(self) -> None:
        self._newer = _Loads()

    def end_look(self) -> None:
        # What was stored while it looked may be counted twice until the next look; never not at all.
        self._stored, self._newer = self._newer, _Loads()

    def beside(self, looked: Load, owner: TenantId | None = None) -> Load:
        """Return a load with what the look may not have seen of it."""
        found = [self._reserved.of(owner), self._stored.of(owner)]
        return Load(
            jobs=looked.jobs + sum(load.jobs for load in found),
            bytes=looked.bytes + sum(load.bytes for load in found),
        )


class _Loads:
    """Loads that grow and shrink, by tenant and of all."""

    def __init__(self) -> None:
        self._jobs: Counter[TenantId | None] = Counter()
        self._bytes: Counter[TenantId | None] = Counter()

    def add(self, owner: TenantId, jobs: int, size: int) -> None:
        for key in (owner, None):
            self._jobs[key] += jobs
            self._bytes[key] += size

    def of(self, owner: TenantId | None) -> Load:
        return Load(jobs=self._jobs[owner], bytes=self._bytes[owner])


def _sum(loads: Mapping[TenantId, Load]) -> Load:
    found = loads.values()
    return Load(jobs=sum(load.jobs for load in found), bytes=sum(load.bytes for load in found))


def _words(whose: str, load: Load, marks: Marks, jobs: int) -> str:
    if jobs > marks.jobs:
        return f"{jobs:,} jobs at a time, where {marks.jobs:,} may wait; send fewer"
    return (
        f"{load.jobs:,} jobs with {load.bytes:,} bytes {whose}; {jobs:,} more do not fit below the marks, "
        f"{marks.jobs:,} jobs and {marks.bytes:,} bytes; send this again after `Retry-After`"
    )
