"""Claim, run, settle: the one place where a job's outcome is decided."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any

import structlog

from shared.blobs import BlobStore
from shared.caching import result_key
from shared.errors import (
    IconotextError,
    InternalError,
    LeaseLost,
    ModelOutOfMemory,
    ModelUnavailable,
)
from shared.jobs import Claim, Failure, FileId, Json, Success, WorkerId
from shared.schemas.base import TaskResult, TaskSchema
from shared.store import JobStore
from worker.claiming import Claimer
from worker.engine import Engine
from worker.heartbeat import Heartbeat, Held
from worker.media import Decoder
from worker.media.films import Films
from worker.models.capabilities import ModelCard
from worker.pipeline import JobCanceled, Pipeline, WorkerDraining, run_stages
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
    ) -> None:
        """Take the process's shared parts.

        Args:
            slots: jobs at once.
            readers: threads that read and decode the pictures of one job side by side.
            identities: what this worker announces of each capability's model: `id`, `revision`.
            inline_result_bytes: JSON of a result that is kept in the job's row; a longer one is a blob.
        """
        self._claimer = Claimer(lambda count: store.claim(worker, self._pools, count))
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
        self._profile = profile
        self._identities = identities
        self._inline_result_bytes = inline_result_bytes
        self._stopping = threading.Event()
        #: Cleared while a suspect has the process to itself.
        self._shared = threading.Event()
        self._shared.set()

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

    def _claim_suspect(self) -> list[Claim]:
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
            job=claim.id, attempt=claim.attempt, task=claim.task
        )
        with context, self._heartbeat.hold(claim) as held, self._engine.enter(held.ticket):
            try:
                self._settle(claim, held)
            except LeaseLost as error:
                log.warning("lease lost, the outcome is dropped", reason=error.message)
            except Exception:
                log.exception("cannot settle: the lease will end, another attempt follows")

    def _settle(self, claim: Claim, held: Held) -> None:
        """Make the attempt and write its outcome down, whatever it is; raises what the store raises."""
        try:
            success = self._attempt(held)
        except Exception as error:  # noqa: BLE001  # the one place where every failure becomes an outcome
            self._settle_failed(claim, error)
        else:
            self._store.succeed(claim, success)

    def _attempt(self, held: Held) -> Success:
        claim = held.claim
        schema, pipeline = self._schemas.get(claim.task), self._pipelines.get(claim.task)
        if schema is None or pipeline is None:
            raise ModelUnavailable(
                f"this worker does not know the task {claim.task!r}; it may be older than the API"
            )
        work = JobWork(
            held,
            done=pipeline.done,
            engine=self._engine,
            decoder=self._decoder,
            films=self._films,
            blobs=self._blobs,
            readers=self._readers,
        )
        task_input = schema.input.model_validate(claim.input)
        result = run_stages(pipeline, work, task_input, work.enter)
        work.finish()
        held.ticket.check()
        return self._success(held, work, schema, result)

    def _success(self, held: Held, work: JobWork, schema: TaskSchema, result: TaskResult) -> Success:
        # No NaN is in it: every result's model refuses one.
        encoded = result.model_dump_json().encode()
        file: FileId | None = None
        if len(encoded) > self._inline_result_bytes:
            file = self._blobs.put(encoded)
        return Success(
            result=None if file else json.loads(encoded),
            result_file=file,
            artifacts=work.artifacts,
            provenance=self._provenance(held.ticket.models),
            timings_ms={
                name: round(span, 3)
                for name, span in {**work.timings_ms, "model": held.ticket.model_seconds * 1000}.items()
            },
            batch_size=held.ticket.largest_batch,
            cache_key=self._cache_key(held.claim, schema),
        )

    def _cache_key(self, claim: Claim, schema: TaskSchema) -> str | None:
        if not claim.cache:
            return None
        return result_key(claim.task, claim.input, self._identities, [*schema.needs, *schema.uses])

    def _provenance(self, used: Mapping[str, ModelCard]) -> Json:
        cards = sorted(used.items())
        return {
            "profile": self._profile,
            "models": [
                {
                    "capability": name,
                    "id": card.id,
                    "revision": card.revision,
                    "grade": card.grade,
                    "device": card.device,
                    "dtype": card.dtype,
                    "runtime": card.runtime,
                }
                for name, card in cards
            ],
            "device": cards[0][1].device if cards else None,
            "dtype": cards[0][1].dtype if cards else None,
        }

    def _settle_failed(self, claim: Claim, error: Exception) -> None:
        """Write down an attempt that did not succeed."""
        match error:
            case JobCanceled():
                self._store.confirm_canceled(claim)
            case WorkerDraining():
                self._store.release(claim)
            case LeaseLost():
                raise error
            case IconotextError() if not error.retryable:
                self._store.fail(claim, Failure(code=error.code, message=error.message))
            case _:
                self._retry_or_fail(claim, error)

    def _retry_or_fail(self, claim: Claim, error: Exception) -> None:
        if isinstance(error, MemoryError):
            error = ModelOutOfMemory("the worker ran out of memory")
        if isinstance(error, IconotextError):
            log.warning("attempt failed, another follows", code=error.code, reason=error.message)
            failure = Failure(code=error.code, message=error.message, retryable=True)
            self._store.requeue(claim, failure, _backoff(claim.attempt))
            return
        # A bug of ours: the same job would meet it again, and its text may quote what the user sent.
        log.error("attempt failed by a bug", exc_info=error)
        message = f"an error inside the service ({type(error).__name__}); the worker's log has the details"
        self._store.fail(claim, Failure(code=InternalError.code, message=message))


def _backoff(attempt: int) -> timedelta:
    """Return how long to wait before the next attempt: doubling, with jitter of one half."""
    seconds = min(_BACKOFF_S * 2 ** (attempt - 1), _LONGEST_BACKOFF_S)
    return timedelta(seconds=seconds * random.uniform(0.5, 1.5))  # noqa: S311  # spreads load, guards nothing
