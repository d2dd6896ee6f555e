"""Which items form the next batch: lanes of like items, shared fairly. No thread and no clock in here."""

from __future__ import annotations

from shared.jobs import Priority
from worker.engine.arrivals import Arrivals
from worker.engine.items import bucket, pixels
from worker.engine.lanes import Kind, Lane, Portion
from worker.engine.limits import BatchLimits
from worker.engine.requests import Request, Slot
from worker.engine.ticket import Ticket

#: Of a lane's urgency, in `BatchLimits.patience`: with its 100 ms, an item of priority `low` lets those of
#: `high` pass for two seconds, a `normal` one for one; then it is served, however many more come.
_HEAD_START = {Priority.HIGH: 10.0, Priority.NORMAL: 0.0, Priority.LOW: -10.0}


class Lanes:
    """Everything that waits for the device. The caller holds a lock, and tells the time in seconds."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._max_wait = limits.max_wait.total_seconds()
        self._patience = limits.patience.total_seconds()
        self._lanes: dict[tuple[Kind, Request | None], Lane] = {}
        #: By operation.
        self._arrivals: dict[str, Arrivals] = {}
        #: What memory taught: the largest safe batch of a kind. It outlives the model that taught it.
        self._safe: dict[Kind, int] = {}
        #: How many items of each job wait.
        self._waiting: dict[Ticket, int] = {}
        #: The owner of the last batch: until an alone request ends, nothing else runs.
        self._holder: Request | None = None

    @property
    def waiting(self) -> int:
        """Return how many items wait."""
        return sum(lane.waiting for lane in self._lanes.values())

    @property
    def jobs(self) -> int:
        """Return how many jobs have an item that waits."""
        return len(self._waiting)

    def add(self, request: Request, now: float) -> None:
        """Queue each item of a request in its lane."""
        arrivals = self._arrivals.setdefault(request.operation, Arrivals(self._max_wait))
        arrivals.note(now)
        owner = request if request.ticket.alone else None
        for kind, indices in _sorted_out(request).items():
            lane = self._lanes.get((kind, owner))
            if lane is None:
                limit = self._limit(kind, request, request.items[indices[0]])
                lane = self._lanes[kind, owner] = Lane(kind, owner, limit, arrivals)
            lane.add(Portion(request, indices, now))
        self._count(request.ticket, len(request.items))

    def drop(self, request: Request) -> None:
        """Forget what a request has waiting."""
        for lane in list(self._lanes.values()):
            before = lane.waiting
            lane.drop(request)
            self._count(request.ticket, lane.waiting - before)
            self._remove_if_empty(lane)

    def next(self, now: float, *, company: bool) -> Lane | float | None:
        """Return the lane whose batch should leave now, or the seconds until one should; None: nothing waits.

        Args:
            now: never less than in the call before.
            company: other jobs are in flight that may yet bring neighbours.
        """
        held = [lane for lane in self._lanes.values() if lane.owner and lane.owner is self._holder]
        lanes = held or list(self._lanes.values())
        if not lanes:
            return None
        if company:
            due = [lane for lane in lanes if lane.due(now, self._max_wait) <= now]
            if not due:
                return min(lane.due(now, self._max_wait) for lane in lanes) - now
            lanes = due
        return max(lanes, key=lambda lane: self._urgency(lane, now))

    def take(self, lane: Lane, now: float) -> list[Slot]:
        """Remove and return the lane's next batch."""
        self._holder = lane.owner
        slots = lane.take(now)
        for slot in slots:
            self._count(slot.request.ticket, -1)
        self._remove_if_empty(lane)
        return slots

    def remember_safe(self, kind: Kind, size: int) -> None:
        """Form no batch of more than `size` of this kind again."""
        safe = self._safe[kind] = max(1, min(size, self._safe.get(kind, size)))
        for lane in self._lanes.values():
            if lane.kind == kind:
                lane.limit = min(lane.limit, safe)

    def _limit(self, kind: Kind, request: Request, item: object) -> int:
        limit = self._limits.of(kind.operation, best=request.best_batch, pixels=pixels(item))
        return min(limit, self._safe.get(kind, limit))

    def _urgency(self, lane: Lane, now: float) -> float:
        fill = min(1.0, lane.waiting / lane.limit)
        return (now - lane.since) / self._patience + fill + _HEAD_START[lane.priority]

    def _count(self, ticket: Ticket, change: int) -> None:
        count = self._waiting.get(ticket, 0) + change
        if count:
            self._waiting[ticket] = count
        else:
            self._waiting.pop(ticket, None)

    def _remove_if_empty(self, lane: Lane) -> None:
        if not lane.portions:
            self._lanes.pop((lane.kind, lane.owner), None)


def _sorted_out(request: Request) -> dict[Kind, list[int]]:
    """Return the indices of a request's items by kind."""
    indices: dict[Kind, list[int]] = {}
    for index, item in enumerate(request.items):
        indices.setdefault(Kind(request.operation, bucket(item)), []).append(index)
    return indices
