"""Looking at jobs until they have ended, patiently while the service is away for a while."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar
from urllib.parse import quote

import httpx

from client.answers import read
from client.errors import RequestRefused, ServiceUnreachable, WaitTimeout
from client.models import Job, Value
from client.submissions import JSON
from client.transport import Transport

#: Seconds that one poll asks the service to hold its answer back.
POLL_S = 20.0
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
    ) -> Job:
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
            news = self._look(job_id, tag, 0.0 if at_once else hold, until, is_patient=not at_once)
            if news is None:
                continue
            job, tag = news[0], news[1] if on_progress is not None else ""
            if on_progress is not None:
                on_progress(job)
        return job

    def many(self, ids: Sequence[str], hold: float) -> list[Job | None]:
        """Return the jobs as they stand, in order, None for one that is not there.

        Args:
            ids: at most 1,000.
            hold: seconds that the service may wait for the end of all.
        """
        words: dict[str, object] = {"ids": ids}
        if hold > 0:
            words["wait_s"] = round(hold, 3)
        body = json.dumps(words).encode(), JSON
        response = self._transport.request("POST", "/v1/jobs:get", body=body, wait=hold, repeatable=True)
        jobs = read(_Found, response).jobs
        if len(jobs) != len(ids):
            raise ServiceUnreachable(f"{len(ids)} jobs asked for, {len(jobs)} answered")
        return jobs

    def all(self, ids: Sequence[str], wait: float) -> list[Job | None]:
        """Return any number of jobs, in order, after all have ended or `wait` seconds."""
        until = deadline(wait)
        jobs: list[Job | None] = []
        for start in range(0, len(ids), _MOST_IDS):
            hold = max(0.0, until - time.monotonic()) if wait else 0.0
            jobs += self.many(ids[start : start + _MOST_IDS], min(hold, 3 * POLL_S))
        return jobs

    def rounds(self, ids: Collection[str], timeout: float | None, hold: float) -> Iterator[list[Job]]:
        """Yield the jobs that have ended since the last round, until all have.

        Args:
            hold: seconds of a round in which not all end; a round may bring nothing.

        Raises:
            WaitTimeout: some go on.
            RequestRefused: there is no job of one of the ids.
        """
        until = deadline(timeout)
        pending = dict.fromkeys(ids)
        while pending:
            window = list(islice(pending, _MOST_IDS))
            began, left = time.monotonic(), max(0.0, until - time.monotonic())
            jobs = self._patiently(partial(self.many, window), min(hold, left), until)
            ended = [job for job in jobs if job is not None and job.is_terminal]
            for number in window:
                del pending[number]
            # Those that go on are asked for last: they hold up nobody.
            going = [job for job in jobs if job is not None and not job.is_terminal]
            pending |= dict.fromkeys(job.id for job in going)
            yield ended
            if None in jobs:
                raise RequestRefused(
                    f"there is no job {window[jobs.index(None)]!r}", code="not_found", status=404
                )
            if going and time.monotonic() >= until:
                raise WaitTimeout(going[0], timeout or 0, others=len(pending) - 1)
            if not ended:
                _breathe(began, min(hold, left))

    def _look(
        self, job_id: str, tag: str, hold: float, until: float, *, is_patient: bool
    ) -> tuple[Job, str] | None:
        """Return the job and its ETag after its end or `hold` seconds; with a tag after a change, or None."""
        began = time.monotonic()

        def look(hold: float) -> httpx.Response:
            return self._transport.request(
                "GET",
                job_path(job_id),
                params=[("wait", f"{hold:.3f}")] if hold else (),
                headers={"If-None-Match": tag} if tag else None,
                wait=hold,
                accept=[httpx.codes.NOT_MODIFIED],
            )

        response = self._patiently(look, hold, until) if is_patient else look(hold)
        unchanged = response.status_code == httpx.codes.NOT_MODIFIED
        job = None if unchanged else read(Job, response)
        if job is None or not (tag or job.is_terminal):
            _breathe(began, hold)
        return None if job is None else (job, response.headers.get("etag", ""))

    def _patiently(self, look: Callable[[float], Looked], hold: float, until: float) -> Looked:
        """Look, again and again while the service is away for a while."""
        until = min(until, time.monotonic() + hold + _OUTAGE_S)
        while True:
            try:
                return look(hold)
            except ServiceUnreachable:
                if time.monotonic() > until:
                    raise
                time.sleep(_OUTAGE_PAUSE_S)


def _breathe(began: float, hold: float) -> None:
    """Sleep when the service answered sooner than it was asked to."""
    time.sleep(max(0.0, min(hold, _BREATH_S) - (time.monotonic() - began)))
