"""The device thread: it alone calls the models, for all jobs, in batches that cross them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, TypeVar

from shared.errors import ModelFailed, ModelOutOfMemory, ModelUnavailable
from shared.jobs import Json
from worker.engine.batching import BatchLimits, Lane, Lanes
from worker.engine.execution import answer_all
from worker.engine.failures import is_out_of_memory
from worker.engine.requests import Request, Slot
from worker.engine.ticket import Ticket
from worker.models.capabilities import Model

Capability = TypeVar("Capability", bound=Model)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStats:
    """What the device did since it started."""

    #: For each operation, how many batches of each size were answered.
    batches: Mapping[str, Mapping[int, int]]
    #: Items answered.
    items: int
    #: Seconds spent in model calls, failed ones too.
    busy_seconds: float
    #: Items that wait now.
    waiting: int

    def as_json(self) -> Json:
        return asdict(self)


class Engine:
    """The models of one process, shared by all its jobs."""

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        device: str,
        limits: BatchLimits,
        on_fatal: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """Take over loaded models; from `start` on, only the device thread may call them.

        Args:
            models: by the name of the capability they serve; one model may serve several.
            device: `cpu`, `cuda:0`.
            limits: of every batch.
            on_fatal: called in the device thread, before any job learns of it, when the device is lost; the
                process should exit.
        """
        self._models = dict(models)
        self._device = device
        self._lanes = Lanes(limits)
        self._on_fatal = on_fatal
        #: Guards everything below, and the lanes.
        self._changed = threading.Condition()
        self._open: set[Request] = set()
        self._jobs = 0
        self._closed = False
        self._batches: dict[str, Counter[int]] = {}
        self._busy_seconds = 0.0
        self._idle = True
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

    def model(self, capability: type[Capability]) -> Capability:
        """Return the model behind a capability, for its properties only.

        Raises:
            ModelUnavailable: the profile has none.
        """
        return self._find(capability.__name__)  # type: ignore[return-value]  # the profile's contract tests say so

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a job as in flight: items of others may wait up to `max_wait` for its items."""
        with self._changed:
            self._jobs += 1
        try:
            yield
        finally:
            with self._changed:
                self._jobs -= 1
                self._changed.notify_all()

    def map(
        self,
        operation: Callable[[Any, Sequence[Item]], Sequence[Answer]],
        items: Sequence[Item],
        *,
        ticket: Ticket,
    ) -> list[Answer]:
        """Run a capability's operation on the device, batched with other jobs: one answer per item, in order.

        Raises:
            ModelFailed: the model fails on one of these items even alone; names it.
            ModelOutOfMemory: one of these items does not fit even alone.
            ModelUnavailable: the profile has no such model, or the engine is closed.
            Exception: the reason the ticket was stopped with, at once, whatever the device is doing.
        """
        ticket.check()
        if not items:
            return []
        request = Request(self._find(operation.__qualname__.partition(".")[0]), operation, items, ticket)
        with self._changed:
            if self._closed:
                raise ModelUnavailable("the engine is closed")
            self._open.add(request)
            self._lanes.add(request, time.monotonic())
            self._changed.notify_all()
        try:
            return request.result()
        except BaseException:
            with self._changed:
                self._lanes.drop(request)
            raise
        finally:
            with self._changed:
                self._open.discard(request)

    def last_progress(self) -> float:
        """Return `time.monotonic()` of the device thread's last sign of life; idle is alive, dead is not."""
        with self._changed:
            return time.monotonic() if self._idle else self._last_progress

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        with self._changed:
            return EngineStats(
                batches={operation: dict(sizes) for operation, sizes in self._batches.items()},
                items=sum(size * count for sizes in self._batches.values() for size, count in sizes.items()),
                busy_seconds=self._busy_seconds,
                waiting=self._lanes.waiting,
            )

    def _find(self, name: str) -> Model:
        if name not in self._models:
            known = ", ".join(sorted(self._models)) or "none"
            raise ModelUnavailable(f"this worker's profile has no {name}; it has {known}")
        return self._models[name]

    def _shut(self, why: str) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            waiting = list(self._open)
        for request in waiting:
            request.fail(ModelUnavailable(why))

    def _serve(self) -> None:
        """Run batches until closed."""
        try:
            while work := self._await_batch():
                self._run(*work)
        except Exception as error:  # noqa: BLE001  the thread's edge: nobody else would ever hear of it
            try:
                self._on_fatal(error)
            finally:
                self._shut(f"the device is lost: {error.__cause__ or error}")

    def _await_batch(self) -> tuple[Lane, list[Slot]] | None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                found = self._lanes.next(now, company=self._jobs > len(self._lanes.requests))
                self._idle = not isinstance(found, Lane)
                if isinstance(found, Lane):
                    return found, self._lanes.take(found, now)
                self._changed.wait(found)
        return None

    def _run(self, lane: Lane, slots: list[Slot]) -> None:
        safe = answer_all(slots, self._attempt)
        if safe is not None:
            with self._changed:
                self._lanes.remember_safe(lane.kind, safe)

    def _attempt(self, slots: list[Slot]) -> BaseException | None:
        """Call the model once and hand out its answers, or return why it failed."""
        operation = slots[0].request.operation
        capability, _, method = operation.partition(".")
        failure: BaseException | None = None
        started = self._beat()
        try:
            answers = list(getattr(slots[0].request.model, method)([slot.item for slot in slots]))
            if len(answers) != len(slots):
                failure = ModelFailed(f"{operation} gave {len(answers)} answers for {len(slots)} items")
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a model raises, an item is at fault
            # Keeping an out-of-memory error would keep its traceback, and with it the tensors.
            failure = ModelOutOfMemory(str(error)) if is_out_of_memory(error) else error
        seconds = self._beat() - started
        for ticket in {slot.request.ticket for slot in slots}:
            ticket.model_seconds += seconds
            ticket.models.add(capability)
            if failure is None:
                ticket.largest_batch = max(ticket.largest_batch, len(slots))
        with self._changed:
            self._busy_seconds += seconds
            if failure is None:
                self._batches.setdefault(operation, Counter())[len(slots)] += 1
        if failure is None:
            for slot, answer in zip(slots, answers, strict=True):
                slot.request.answer(slot.place, answer)
        return failure

    def _beat(self) -> float:
        self._last_progress = time.monotonic()
        return self._last_progress
