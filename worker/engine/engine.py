"""The device thread: it alone calls the models, for all jobs, in batches that cross them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from shared.errors import ModelUnavailable
from shared.failpoints import NONE, Failpoints
from worker.engine.batching import Lanes
from worker.engine.execution import answer_all, call
from worker.engine.failures import is_sticky
from worker.engine.lanes import Lane
from worker.engine.limits import BatchLimits
from worker.engine.pending import Pending
from worker.engine.preparing import best_batch, prepared
from worker.engine.requests import Request, Slot
from worker.engine.residency import Residency
from worker.engine.stats import EngineStats
from worker.engine.ticket import Ticket
from worker.models.capabilities import Model

Capability = TypeVar("Capability", bound=Model)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Engine:
    """The models of one process, shared by all its jobs."""

    def __init__(
        self,
        models: Mapping[str, Model] | Residency,
        *,
        device: str,
        limits: BatchLimits,
        on_fatal: Callable[[Exception], None] = lambda _: None,
        failpoints: Failpoints = NONE,
    ) -> None:
        """Take over the models; from `start` on, only the device thread may call those that are loaded.

        Args:
            models: a residency, which the engine closes; or loaded models, by the name of the capability they
                serve, which stay for good; one model may serve several.
            device: `cpu`, `cuda:0`.
            limits: of every batch.
            on_fatal: called, before any job learns of it, when the device is lost; the process should exit.
        """
        self._residency = models if isinstance(models, Residency) else Residency.for_good(models)
        self._device = device
        self._lanes = Lanes(limits)
        self._on_fatal = on_fatal
        self._failpoints = failpoints
        #: Guards everything below, and the lanes.
        self._lock = threading.Lock()
        #: Only the device thread waits on it.
        self._changed = threading.Condition(self._lock)
        self._open: dict[Ticket, set[Request]] = {}
        self._jobs = 0
        self._closed = False
        self._batches: dict[str, Counter[int]] = {}
        self._busy_seconds = 0.0
        #: When the idle device looks again by itself; None: it is busy.
        self._alarm: float | None = float("inf")
        #: Whom the model call in progress works for.
        self._served: frozenset[Ticket] = frozenset()
        self._last_progress = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name=f"device-{device}", daemon=True)

    def start(self) -> None:
        """Start the device thread."""
        self._thread.start()

    def close(self, timeout: timedelta = timedelta(seconds=10)) -> None:
        """Fail whatever waits with `ModelUnavailable`, then wait for the model call in progress."""
        self._shut("the engine is closed")
        if self._thread.ident is not None:
            self._thread.join(timeout.total_seconds())

    def model(self, capability: type[Capability], ticket: Ticket | None = None) -> Capability:
        """Return the model behind a capability, for its properties only; loaded first, if it is absent.

        Args:
            capability: what the model serves.
            ticket: stops the wait for the load.

        Raises:
            ModelUnavailable: the profile has none, or the engine is closed.
            Exception: what the load raised, or the reason the ticket was stopped with.
        """
        name = capability.__name__
        model = self._acquire(name, ticket or Ticket())
        self._residency.release(name)
        return model  # type: ignore[return-value]  # the profile's contract tests say so

    def has(self, capability: type[Model]) -> bool:
        """Return whether the profile serves a capability."""
        return self._residency.knows(capability.__name__)

    @contextmanager
    def enter(self, ticket: Ticket | None = None) -> Iterator[None]:
        """Count a job as in flight: items of others may wait up to `max_wait` for its items.

        Args:
            ticket: the job's; nothing that it submitted outlives the block.
        """
        with self._lock:
            self._jobs += 1
        try:
            yield
        finally:
            self._leave(ticket)

    def map(
        self,
        operation: Callable[[Any, Sequence[Item]], Sequence[Answer]],
        items: Sequence[Item],
        *,
        ticket: Ticket,
    ) -> list[Answer]:
        """Run a capability's operation on the device, batched with other jobs: one answer per item, in order.

        Raises:
            Exception: as `submit` and `Pending.result`.
        """
        return self.submit(operation, items, ticket=ticket).result()

    def submit(
        self,
        operation: Callable[[Any, Sequence[Item]], Sequence[Answer]],
        items: Sequence[Item],
        *,
        ticket: Ticket,
        first: int = 0,
    ) -> Pending[Answer]:
        """Queue items for a capability's operation; the answers are asked for later, or cancelled.

        Blocks while the model is loaded, and while it prepares the items.

        Args:
            operation: of the capability, `TextEncoder.encode_texts`.
            items: any number; none, no call.
            ticket: the job's.
            first: what errors call the first of these items, when a job hands them over in groups.

        Raises:
            ModelFailed: the model cannot prepare these items.
            ModelOutOfMemory: the model does not fit, or to prepare these items takes too much.
            ModelUnavailable: the profile has no such model, or the engine is closed.
            Exception: what the load raised, or the reason the ticket was stopped with.
        """
        ticket.check()
        name = operation.__qualname__
        if not items:
            return Pending(Request(name, items, ticket), self._end)
        capability = name.partition(".")[0]
        model = self._acquire(capability, ticket)
        try:
            ticket.models[capability] = model.card
            ready = prepared(model, name, items)
            request = Request(name, ready, ticket, best_batch=best_batch(model, name), first=first)
            self._queue(request)
        except BaseException:
            self._residency.release(capability)
            raise
        return Pending(request, self._end)

    def last_progress(self) -> float:
        """Return `time.monotonic()` of the device thread's last sign of life; idle is alive, dead is not."""
        with self._lock:
            return self._last_progress if self._alarm is None else time.monotonic()

    def is_running(self, ticket: Ticket) -> bool:
        """Return whether the model call in progress works for this job."""
        return ticket in self._served

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        residency = self._residency.stats()
        with self._lock:
            return EngineStats(
                batches={operation: dict(sizes) for operation, sizes in self._batches.items()},
                items=sum(size * count for sizes in self._batches.values() for size, count in sizes.items()),
                busy_seconds=self._busy_seconds,
                waiting=self._lanes.waiting,
                residency=residency,
            )

    def _acquire(self, capability: str, ticket: Ticket) -> Model:
        try:
            return self._residency.acquire(capability, ticket)
        except Exception as error:
            if is_sticky(error):
                self._lose(error)
            raise

    def _queue(self, request: Request) -> None:
        with self._lock:
            if self._closed:
                raise ModelUnavailable("the engine is closed")
            self._open.setdefault(request.ticket, set()).add(request)
            self._lanes.add(request, time.monotonic())
            self._wake_if_due()

    def _end(self, request: Request) -> None:
        """Forget a request, and what it has waiting; a second time, nothing happens."""
        with self._lock:
            of_ticket = self._open.get(request.ticket, set())
            if request not in of_ticket:
                return
            of_ticket.discard(request)
            if not of_ticket:
                del self._open[request.ticket]
            if not request.is_answered:
                self._lanes.drop(request)
        if not request.is_answered:
            request.fail(ModelUnavailable("the job gave this request up"))
        self._residency.release(request.capability)

    def _leave(self, ticket: Ticket | None) -> None:
        with self._lock:
            self._jobs -= 1
            left = list(self._open.get(ticket, ())) if ticket else []
            self._wake_if_due()
        for request in left:
            self._end(request)

    def _next(self, now: float) -> Lane | float | None:
        return self._lanes.next(now, company=self._jobs > self._lanes.jobs)

    def _wake_if_due(self) -> None:
        """Wake the idle device if it would sleep too long: each needless wake costs two switches."""
        if self._alarm is None:
            return
        now = time.monotonic()
        found = self._next(now)
        if isinstance(found, Lane) or (found is not None and now + found < self._alarm):
            self._changed.notify()

    def _lose(self, error: Exception) -> None:
        """The device will answer nobody any more: tell first, then fail everybody."""
        try:
            self._on_fatal(error)
        finally:
            self._shut(f"the device is lost: {error.__cause__ or error}")

    def _shut(self, why: str) -> None:
        with self._lock:
            self._closed = True
            self._changed.notify()
            waiting = [request for requests in self._open.values() for request in requests]
        self._residency.close()
        for request in waiting:
            request.fail(ModelUnavailable(why))

    def _serve(self) -> None:
        """Run batches until closed."""
        try:
            while self._serve_one():
                pass
        except Exception as error:  # noqa: BLE001  the thread's edge: nobody else would ever hear of it
            self._lose(error)

    def _serve_one(self) -> bool:
        """Wait for a batch and run it; return False once closed.

        Between two batches the thread refers to no item and no model.
        """
        work = self._await_batch()
        if work is None:
            return False
        lane, slots, model = work
        try:
            self._run(lane, slots, model)
        finally:
            self._residency.release(slots[0].request.capability)
        return True

    def _await_batch(self) -> tuple[Lane, list[Slot], Model] | None:
        with self._lock:
            while not self._closed:
                now = time.monotonic()
                found = self._next(now)
                if isinstance(found, Lane):
                    self._alarm = None
                    slots = self._lanes.take(found, now)
                    # Their requests are open, so the model is there; they may end before the batch does.
                    return found, slots, self._residency.pin(slots[0].request.capability)
                self._alarm = float("inf") if found is None else now + found
                self._changed.wait(found)
        return None

    def _run(self, lane: Lane, slots: list[Slot], model: Model) -> None:
        safe = answer_all(slots, partial(self._attempt, model))
        if safe is not None:
            with self._lock:
                self._lanes.remember_safe(lane.kind, safe)

    def _attempt(self, model: Model, slots: list[Slot]) -> BaseException | None:
        """Call the model once and hand out its answers, or return why it failed."""
        operation = slots[0].request.operation
        tickets = self._served = frozenset(slot.request.ticket for slot in slots)
        started = self._beat()
        answers, failure = call(model, operation, [slot.item for slot in slots], self._failpoints)
        seconds = self._beat() - started
        self._served = frozenset()
        for ticket in tickets:
            ticket.charge(seconds, 0 if failure else len(slots))
        self._count(operation, seconds, 0 if failure else len(slots))
        if failure is None:
            finished = {
                slot.request.ticket
                for slot, answer in zip(slots, answers, strict=True)
                if slot.request.answer(slot.place, answer)
            }
            for ticket in finished:
                ticket.wake()
        return failure

    def _count(self, operation: str, seconds: float, answered: int) -> None:
        with self._lock:
            self._busy_seconds += seconds
            if answered:
                self._batches.setdefault(operation, Counter())[answered] += 1

    def _beat(self) -> float:
        self._last_progress = time.monotonic()
        return self._last_progress
