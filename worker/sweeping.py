"""What nobody needs any more: rows past their time, and the blobs that no row names."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import islice, takewhile

import structlog

from shared.blobs import FOLDERS, BlobStore
from shared.jobs import FileId
from shared.store import JobStore
from worker.periodic import attempt

#: Blobs that the store is asked about at once.
_AT_ONCE = 500
#: Purges in a round, of 500 jobs each: more than a service can end in the meantime.
_PURGES = 20
#: Of one step, in seconds, if it has more to do: the next round goes on.
_BUSY_S = 1.0
#: Blobs that are remembered, at 0.25 kB each. Of those beyond, a later walk reminds.
_REMEMBERED = 200_000

log = structlog.get_logger()


class Sweeper:
    """One round of clearing away; only the leader of all workers does it, and two at once do no harm.

    A blob goes when nobody names it at two moments, at least `grace` apart, and nobody put it since `grace`
    before the second. A request puts what it will name, or has seen it named; so as long as it takes less
    than `grace` from there to its commit, nothing that it names is deleted.
    """

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        *,
        leads: Callable[[], bool],
        grace: timedelta,
        retain_uploads: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what a round needs.

        Args:
            leads: whether this worker is to do it.
            grace: a walk through the whole blob store takes about as long, too.
            retain_uploads: how long an upload is kept that no job names.
            clock: seconds, from any beginning.
        """
        self._store = store
        self._blobs = blobs
        self._leads = leads
        self._grace = grace
        self._retain_uploads = retain_uploads
        self._clock = clock
        #: When each was seen to be named by nobody, the first of them first.
        self._unnamed: dict[FileId, float] = {}
        self._walked_at: float | None = None
        #: Folders that should have been walked by now.
        self._behind = 0.0
        # Anywhere, so that leaders who do not live long reach all of them.
        self._folder = random.randrange(len(FOLDERS))  # noqa: S311
        self._walk: Iterator[FileId] = iter(())

    def round(self) -> None:
        """Do what is due, if this worker leads."""
        if not self._leads():
            # What another leader saw named in the meantime would look like unnamed all the time.
            self._unnamed.clear()
            self._walked_at = None
            return
        attempt(
            self._forget_jobs_and_uploads,
            self._store.purge_keys,
            self._store.purge_deliveries,
            self._look_around,
            self._discard,
        )

    def _forget_jobs_and_uploads(self) -> None:
        for _ in range(_PURGES):
            self._remember(self._store.purge())
            self._remember(self._store.review_uploads(self._retain_uploads))
            if not self._store.overdue():
                return

    def _look_around(self) -> None:
        """Walk the folders that are due, for blobs whose request died, or whose sweeper did."""
        now = self._clock()
        passed_s = 0.0 if self._walked_at is None else now - self._walked_at
        self._walked_at = now
        share = passed_s / self._grace.total_seconds()
        self._behind = min(self._behind + share * len(FOLDERS), float(len(FOLDERS)))
        while self._clock() - now < _BUSY_S and (some := self._next()):
            known = self._unnamed.keys()
            self._remember(file for file in self._store.unnamed(some) if file not in known)

    def _next(self) -> list[FileId]:
        """Return some of the blobs that are due to be looked at."""
        while not (some := list(islice(self._walk, _AT_ONCE))) and self._behind >= 1:
            self._behind -= 1
            self._folder = (self._folder + 1) % len(FOLDERS)
            if not self._folder:
                self._blobs.tidy(self._blobs.clock() - self._grace)
            self._walk = self._blobs.names(FOLDERS[self._folder])
        return some

    def _remember(self, files: Iterable[FileId]) -> None:
        for file in files:
            # At the end, if it was here: it was named in between.
            self._unnamed.pop(file, None)
            if len(self._unnamed) < _REMEMBERED:
                self._unnamed[file] = self._clock()

    def _discard(self) -> None:
        """Delete what nobody named when it was last asked, and nobody names now."""
        began, gone = self._clock(), 0
        while self._clock() - began < _BUSY_S and (due := self._due()):
            # Before the question: whoever puts a blob after it, and names it soon, put it after this moment.
            unused_since = self._blobs.clock() - self._grace
            unnamed = self._store.unnamed(due)
            for file in due:
                # Before the deletion: one that fails every time keeps nothing else from being deleted.
                del self._unnamed[file]
                gone += file in unnamed and self._blobs.discard(file, unused_since=unused_since)
        if gone:
            log.info("deleted files that nobody needs", count=gone)

    def _due(self) -> list[FileId]:
        latest = self._clock() - self._grace.total_seconds()
        ripe = takewhile(lambda seen: seen[1] <= latest, self._unnamed.items())
        return [file for file, _ in islice(ripe, _AT_ONCE)]
