"""Claim, run, settle: the one place where a job's outcome is decided."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from shared.blobs import BlobStore
from shared.errors import (
    BlobsUnavailable,
    IconotextError,
    InternalError,
    LeaseLost,
    ModelOutOfMemory,
    ModelUnavailable,
    StoreUnavailable,
)
from shared.failpoints import NONE, Failpoint, Failpoints
from shared.jobs import Claim, Failure, JobState, Json, Success, WorkerId
from shared.schemas.base import TaskSchema
from shared.store import JobStore
from worker.claiming import Claimer
from worker.downloads import Downloads
from worker.engine import Engine
from worker.fetch import Fetcher
from worker.heartbeat import Heartbeat, Held
from worker.media import Decoder
from worker.media.films import Films
from worker.pipeline import JobCanceled, Pipeline, WorkerDraining, run_stages
from worker.results import Results
from worker.settling import Settler, Write
from worker.work import JobWork

#: The first retry waits about this long, each further one twice as long, up to the limit.
_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 60.0
#: A stopped job raises at its next step, which is soon; one that does not is left to its lease.
_STOPPED_WITHIN = timedelta(seconds=5)
#: While the process empties for a suspect, how soon it is noticed that the worker stops.
_LOOK_S = 0.5

log = structlog.get_logger()


class Runner:
    """Runs jobs, as many at once as there are slots."""

    def __init__(
        self,
        *,
        worker: WorkerId,
        pools: Sequence[str],
        slots: int,
        store: JobStore,
        blobs: BlobStore,
        engine: Engine,
        decoder: Decoder,
        films: Films,
        heartbeat: Heartbeat,
        readers: Executor,
        schemas: Mapping[str, TaskSchema],
        pipelines: Mapping[str, Pipeline[Any, Any, Any, Any, Any]],
        profile: str,
        identities: Mapping[str, Json],
        inline_result_bytes: int,
        fetcher: Fetcher | None = None,
        failpoints: Failpoints = NONE,
    ) -> None:
        """Take the process's shared parts.

        Args:
            slots: jobs at once.
            readers: threads that read and decode the pictures of one job side by side.
            identities: what this worker announces of each capability's model: `id`, `revision`.
            inline_result_bytes: JSON of a result that is kept in the job's row; a longer one is a blob.
            fetcher: of pictures and films by URL; None: they are off.
        """
        self._claimer = Claimer(self._claim)
        self._worker = worker
        self._pools = tuple(pools)
        self._count = slots
        self._slots = threading.BoundedSemaphore(slots)
        self._store = store
        self._blobs = blobs
        self._engine = engine
        self._decoder = decoder
        self._films = films
        self._heartbeat = heartbeat
        self._readers = readers
        self._schemas = schemas
        self._pipelines = pipelines
        self._results = Results(
            blobs, profile=profile, identities=identities, inline_bytes=inline_result_bytes
        )
        self._fetcher = fetcher
        self._failpoints = failpoints
        self._settler = Settler(failpoints)
        self._stopping = threading.Event()
        #: Cleared while a suspect has the process to itself.
        self._shared = threading.Event()
        self._shared.set()

    def outcomes(self) -> Json:
        """Return what became of this process's jobs so far, as `Settler.as_json` counts it."""
        return self._settler.as_json()

    def stop(self) -> None:
        """Claim nothing more; jobs in flight go on."""
        self._stopping.set()
        self._shared.set()

    def close(self, patience: timedelta) -> None:
        """Claim nothing more, wait for the jobs in flight, and hand back those that outlast `patience`."""
        self.stop()
        if not self._is_idle_within(patience):
            self._heartbeat.stop_all(WorkerDraining("this worker is shutting down"))
            self._is_idle_within(_STOPPED_WITHIN)
        self._settler.give_up()

    def drain(self, *, blocking: bool = True) -> int:
        """Claim and run jobs until none is left; return how many.

        Args:
            blocking: wait for a free slot, or return 0 at once when there is none.
        """
        if not self._shared.wait(None if blocking else 0) or not self._slots.acquire(blocking=blocking):
            return 0
        count = 0
        try:
            while self._may_claim() and (claim := self._claimer.next()) is not None:
                self.run(claim)
                count += 1
        finally:
            self._slots.release()
        return count

    def run_suspects(self) -> int:
        """Run what may have killed a worker, one job at a time with nothing beside it; return how many.

        Waits for the jobs in flight. Meanwhile, and until the last suspect ended, nothing else is claimed.
        """
        self._shared.clear()
        taken = count = 0
        try:
            while taken < self._count and not self._stopping.is_set():
                taken += self._slots.acquire(timeout=_LOOK_S)
            while not self._stopping.is_set() and (claims := self._claim_suspect()):
                self.run(claims[0])
                count += 1
        finally:
            if taken:
                self._slots.release(taken)
            self._shared.set()
        return count

    def _claim(self, count: int) -> list[Claim]:
        self._failpoints.hit(Failpoint.BEFORE_CLAIM)
        return self._store.claim(self._worker, self._pools, count)

    def _claim_suspect(self) -> list[Claim]:
        self._failpoints.hit(Failpoint.BEFORE_CLAIM)
        return self._store.claim(self._worker, self._pools, 1, suspects=True)

    def _may_claim(self) -> bool:
        return self._shared.is_set() and not self._stopping.is_set()

    def _is_idle_within(self, patience: timedelta) -> bool:
        """Return whether all slots became free; one is held from before a claim to its outcome."""
        deadline = time.monotonic() + patience.total_seconds()
        taken = 0
        while taken < self._count and self._slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            taken += 1
        # Late hints still wait for a slot, to see that there is nothing to do.
        if taken:
            self._slots.release(taken)
        return taken == self._count

    def run(self, claim: Claim) -> None:
        """Run one claimed job to its outcome and settle it; raises nothing that the job or the store did."""
        context = structlog.contextvars.bound_contextvars(
            job=claim.id, attempt=claim.attempt, task=claim.task, request_id=claim.request_id
        )
        with context, self._heartbeat.hold(claim) as held, self._engine.enter(held.ticket):
            try:
                self._settler.settle(claim, self._outcome(held))
            except Exception:
                log.exception("cannot settle: the lease will end, another attempt follows")

    def _outcome(self, held: Held) -> Write:
        """Make the attempt, and return what writes down how it ended."""
        try:
            success = self._attempt(held)
        except Exception as error:  # noqa: BLE001  # the one place where every failure becomes an outcome
            return self._failed(held, error)
        return partial(self._succeed, held.claim, success)

    def _succeed(self, claim: Claim, success: Success) -> JobState:
        try:
            # Put long ago, in a long attempt or before the database went away, they would look left behind.
            self._blobs.keep(success.files)
        except BlobsUnavailable as error:
            return self._given_back(claim, error)()
        return self._store.succeed(claim, success)

    def _attempt(self, held: Held) -> Success:
        claim = held.claim
        self._failpoints.hit(Failpoint.AFTER_CLAIM)
        schema, pipeline = self._schemas.get(claim.task), self._pipelines.get(claim.task)
        if schema is None or pipeline is None:
            raise ModelUnavailable(
                f"this worker does not know the task {claim.task!r}; it may be older than the API"
            )
        with closing(Downloads(self._fetcher, held.ticket.check)) as downloads:
            work = JobWork(
                held,
                done=pipeline.done,
                engine=self._engine,
                decoder=self._decoder,
                films=self._films,
                blobs=self._blobs,
                downloads=downloads,
                readers=self._readers,
            )
            task_input = schema.input.model_validate(claim.input)
            result = run_stages(pipeline, work, task_input, work.enter)
            work.finish()
        held.ticket.check()
        return self._results.success(
            held, schema, result, artifacts=work.artifacts, timings_ms=work.timings_ms
        )

    def _failed(self, held: Held, error: Exception) -> Write:
        """Return what writes down an attempt that did not succeed."""
        claim = held.claim
        match error:
            case JobCanceled():
                return partial(self._store.confirm_canceled, claim)
            case WorkerDraining():
                return partial(self._store.release, claim)
            case LeaseLost() if not held.is_cut_off:
                return partial(_raise, error)
            case LeaseLost() | StoreUnavailable() | BlobsUnavailable():
                return self._given_back(claim, error)
            case _:
                return self._again_or_never(claim, error)

    def _given_back(self, claim: Claim, error: IconotextError) -> Write:
        """Return what gives a job back that did nothing wrong: it keeps its attempts, however often."""
        delay = _backoff(claim.attempt)
        log.warning(
            "the job is given back until what it needs is there",
            code=error.code,
            reason=error.message,
            delay_s=round(delay.total_seconds(), 1),
        )
        return partial(self._release, claim, delay)

    def _release(self, claim: Claim, delay: timedelta) -> JobState:
        state = self._store.release(claim, delay)
        self._settler.count_release()
        return state

    def _again_or_never(self, claim: Claim, error: Exception) -> Write:
        if isinstance(error, MemoryError):
            error = ModelOutOfMemory("the worker ran out of memory")
        if not isinstance(error, IconotextError):
            # A bug of ours: the same job would meet it again, and its text may quote what the user sent.
            log.error("attempt failed by a bug", exc_info=error)
            words = f"an error inside the service ({type(error).__name__}); the worker's log has the details"
            error = InternalError(words)
        failure = Failure(code=error.code, message=error.message, retryable=error.retryable)
        if not failure.retryable:
            return partial(self._store.fail, claim, failure)
        log.warning("attempt failed, another follows", code=failure.code, reason=failure.message)
        return partial(self._store.requeue, claim, failure, _backoff(claim.attempt))


def _raise(error: Exception) -> JobState:
    raise error


def _backoff(attempt: int) -> timedelta:
    """Return how long to wait before the next attempt: doubling, with jitter of one half."""
    seconds = min(_BACKOFF_S * 2 ** (attempt - 1), _LONGEST_BACKOFF_S)
    return timedelta(seconds=seconds * random.uniform(0.5, 1.5))  # noqa: S311  # spreads load, guards nothing
