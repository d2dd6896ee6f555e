"""Looking at jobs until they have ended, patiently while the service is away for a while."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar
from urllib.parse import quote

import httpx

from client.answers import answered, read
from client.errors import IconotextError, NotFound, ServiceUnreachable, WaitTimeout
from client.flows import Emit, Flow, Pause, Stream, Tell
from client.models import Job, Value
from client.submissions import JSON
from client.transport import Transport

#: Seconds that one poll asks the service to hold its answer back.
POLL_S = 20.0
#: Seconds between two rounds of news about many jobs: each costs the service a look at all of them.
ROUND_S = 1.0
#: A wait bears a service that is away this long: a restart is no reason to lose a job from sight.
_OUTAGE_S = 30.0
#: The shortest time between two polls without news, should the service not hold its answers back.
_BREATH_S = 0.1
#: Between two tries while the service is away.
_OUTAGE_PAUSE_S = 0.5
#: Ids that one request may ask for.
_MOST_IDS = 1_000

Looked = TypeVar("Looked")


class _Found(Value):
    jobs: list[Job | None]


def job_path(job_id: str) -> str:
    """Return the path of a job, whatever its id is made of."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


def deadline(timeout: float | None) -> float:
    """Return when so many seconds are over, on the monotonic clock; None is never."""
    return math.inf if timeout is None else time.monotonic() + timeout


class Waiter:
    """Waits for the jobs of one service. Keeps nothing between calls."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def watch(
        self,
        job_id: str,
        timeout: float | None,
        on_progress: Callable[[Job], object] | None = None,
        *,
        until: float | None = None,
    ) -> Flow[Job]:
        """Return the job once it has ended; `Client.watch` says the rest.

        Args:
            until: when `timeout` is over, where it has begun before.
        """
        until = deadline(timeout) if until is None else until
        job: Job | None = None
        tag = ""
        while job is None or not job.is_terminal:
            hold = max(0.0, min(POLL_S, until - time.monotonic()))
            if job is not None and hold == 0:
                raise WaitTimeout(job, timeout or 0)
            # Whoever listens wants to know at once how it stands. A service never seen may not be there.
            at_once = job is None and (on_progress is not None or not self._transport.was_reached)
            news = yield from self._look(job_id, tag, 0.0 if at_once else hold, until, is_patient=not at_once)
            if news is None:
                continue
            job, tag = news[0], news[1] if on_progress is not None else ""
            if on_progress is not None:
                yield Tell(on_progress, job)
        return job

    def many(self, ids: Sequence[str], hold: float) -> Flow[list[Job | None]]:
        """Return the jobs as they stand, in order, None for one that is not there.

        Args:
            ids: at most 1,000.
            hold: seconds that the service may wait for the end of all.
        """
        words: dict[str, object] = {"ids": ids}
        if hold > 0:
            words["wait_s"] = round(hold, 3)
        body = json.dumps(words).encode(), JSON
        request = self._transport.request("POST", "/v1/jobs:get", body=body, wait=hold, repeatable=True)
        jobs = (yield from answered(_Found, request)).jobs
        if len(jobs) != len(ids):
            raise ServiceUnreachable(f"{len(ids)} jobs asked for, {len(jobs)} answered")
        return jobs

    def all(self, ids: Sequence[str], wait: float) -> Flow[list[Job | None]]:
        """Return any number of jobs, in order, after all have ended or `wait` seconds."""
        until = deadline(wait)
        jobs: list[Job | None] = []
        for start in range(0, len(ids), _MOST_IDS):
            hold = max(0.0, until - time.monotonic()) if wait else 0.0
            jobs += yield from self.many(ids[start : start + _MOST_IDS], min(hold, 3 * POLL_S))
        return jobs

    def rounds(self, ids: Collection[str], timeout: float | None, hold: float) -> Rounds:
        """Return the rounds in which these jobs are waited for.

        Args:
            hold: seconds of a round in which not all end.
        """
        return Rounds(self, ids, timeout, hold)

    def follow(self, ids: Collection[str], timeout: float | None, every: float) -> Stream[list[Job | None]]:
        """Yield how the jobs stand, in order, at once and then once a round, until all have ended.

        Args:
            every: seconds of a round; the end of all ends the last one early.

        Raises:
            WaitTimeout: some go on.
        """
        until = deadline(timeout)
        wanted = list(dict.fromkeys(ids))
        seen: dict[str, Job | None] = {}
        hold = 0.0
        while wanted:
            began = time.monotonic()
            for start in range(0, len(wanted), _MOST_IDS):
                window = wanted[start : start + _MOST_IDS]
                seen.update(
                    zip(
                        window,
                        (yield from self.patiently(partial(self.many, window), hold, until)),
                        strict=True,
                    )
                )
            yield Emit([seen[job_id] for job_id in ids])
            going = [job for job in map(seen.get, wanted) if job is not None and not job.is_terminal]
            wanted = [job.id for job in going]
            left = until - time.monotonic()
            if going and left <= 0:
                raise WaitTimeout(going[0], timeout or 0, others=len(going) - 1)
            yield from _breathe(began, hold)
            hold = min(every, left)

    def _look(
        self, job_id: str, tag: str, hold: float, until: float, *, is_patient: bool
    ) -> Flow[tuple[Job, str] | None]:
        """Return the job and its ETag after its end or `hold` seconds; with a tag after a change, or None."""
        began = time.monotonic()

        def look(hold: float) -> Flow[httpx.Response]:
            return self._transport.request(
                "GET",
                job_path(job_id),
                params=[("wait", f"{hold:.3f}")] if hold else (),
                headers={"If-None-Match": tag} if tag else None,
                wait=hold,
                accept=[httpx.codes.NOT_MODIFIED],
            )

        response = yield from (self.patiently(look, hold, until) if is_patient else look(hold))
        unchanged = response.status_code == httpx.codes.NOT_MODIFIED
        job = None if unchanged else read(Job, response)
        if job is None or not (tag or job.is_terminal):
            yield from _breathe(began, hold)
        return None if job is None else (job, response.headers.get("etag", ""))

    def patiently(self, look: Callable[[float], Flow[Looked]], hold: float, until: float) -> Flow[Looked]:
        """Look, again and again while the service is away for a while."""
        until = min(until, time.monotonic() + hold + _OUTAGE_S)
        while True:
            try:
                return (yield from look(hold))
            except ServiceUnreachable:
                if time.monotonic() > until:
                    raise
                yield Pause(_OUTAGE_PAUSE_S)


class Rounds:
    """Looks at many jobs, round by round, until all have ended."""

    def __init__(self, waiter: Waiter, ids: Collection[str], timeout: float | None, hold: float) -> None:
        self._waiter = waiter
        self._pending = dict.fromkeys(ids)
        self._timeout = timeout
        self._until = deadline(timeout)
        self._hold = hold
        self._fault: IconotextError | None = None

    @property
    def are_left(self) -> bool:
        """Whether another round may bring news."""
        return bool(self._pending) or self._fault is not None

    def next(self) -> Flow[list[Job]]:
        """Return the jobs that have ended since the last round, which may be none.

        Raises:
            WaitTimeout: some go on.
            NotFound: there is no job of one of the ids.
        """
        if self._fault is not None:
            raise self._fault
        window = list(islice(self._pending, _MOST_IDS))
        began = time.monotonic()
        hold = min(self._hold, max(0.0, self._until - began))
        jobs = yield from self._waiter.patiently(partial(self._waiter.many, window), hold, self._until)
        ended = [job for job in jobs if job is not None and job.is_terminal]
        going = [job for job in jobs if job is not None and not job.is_terminal]
        for job_id in window:
            del self._pending[job_id]
        # Those that go on are asked for last: they hold up nobody.
        self._pending |= dict.fromkeys(job.id for job in going)
        # What has ended is handed out first.
        if None in jobs:
            self._fault = _no_job(window[jobs.index(None)])
        elif going and time.monotonic() >= self._until:
            self._fault = WaitTimeout(going[0], self._timeout or 0, others=len(self._pending) - 1)
        elif not ended:
            yield from _breathe(began, hold)
        return ended


def _breathe(began: float, hold: float) -> Flow[None]:
    """Pause when the service answered sooner than it was asked to."""
    yield Pause(max(0.0, min(hold, _BREATH_S) - (time.monotonic() - began)))


def _no_job(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id!r}", code="not_found", status=404)
