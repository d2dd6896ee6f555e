"""Which items form the next batch: lanes of like items, shared fairly. No thread and no clock in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from worker.engine.requests import Request, Slot, bucket


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """How large a batch may grow, and how long it may wait to."""

    max_items: int = 32
    #: Exceptions to `max_items`, by operation: `{"TextEncoder.encode_texts": 64}`.
    per_operation: Mapping[str, int] = field(default_factory=dict)
    #: How long an item waits for neighbours while other jobs are in flight; nobody else about, it never does.
    max_wait: timedelta = timedelta(milliseconds=5)
    #: The wait that weighs as much as a full batch when lanes compete: rare operations do not starve.
    patience: timedelta = timedelta(milliseconds=100)

    def of(self, operation: str) -> int:
        return self.per_operation.get(operation, self.max_items)


class Portion:
    """What one request still has waiting in one lane."""

    def __init__(self, request: Request, indices: list[int], now: float) -> None:
        self.request = request
        self.indices = deque(indices)
        #: When it came, or was last given a share of a batch.
        self.since = now

    def take(self, count: int) -> list[Slot]:
        return [Slot(self.request, self.indices.popleft()) for _ in range(min(count, len(self.indices)))]


class Lane:
    """Items that may share a batch: one model object, one operation, one bucket."""

    def __init__(self, kind: Hashable, owner: Request | None, limit: int) -> None:
        self.kind = kind
        #: The request of an `alone` ticket has its lanes to itself; None: shared.
        self.owner = owner
        #: Items in one batch.
        self.limit = limit
        #: Longest unserved first: newcomers, and whoever got a share, go to the end.
        self.portions: deque[Portion] = deque()

    @property
    def waiting(self) -> int:
        return sum(len(portion.indices) for portion in self.portions)

    @property
    def since(self) -> float:
        return self.portions[0].since

    def take(self, now: float) -> list[Slot]:
        """Remove the next batch: even shares in turn, so that a large request cannot starve a small one.

        Texts come sorted by length, since a batch of texts is padded to its longest.
        """
        slots: list[Slot] = []
        while self.portions and len(slots) < self.limit:
            share = (self.limit - len(slots)) // len(self.portions)
            portion = self.portions.popleft()
            slots += portion.take(max(1, share))
            portion.since = now
            if portion.indices:
                self.portions.append(portion)
        if isinstance(slots[0].item, str):
            slots.sort(key=lambda slot: len(slot.item))
        return slots


class Lanes:
    """Everything that waits for the device. The caller holds a lock, and tells the time in seconds."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._lanes: dict[Hashable, Lane] = {}
        #: What memory taught: the largest safe batch of a kind.
        self._safe: dict[Hashable, int] = {}
        #: The owner of the last batch: until an alone request ends, nothing else runs.
        self._holder: Request | None = None

    @property
    def waiting(self) -> int:
        """Return how many items wait."""
        return sum(lane.waiting for lane in self._lanes.values())

    @property
    def requests(self) -> set[Request]:
        """Return the requests with an item that waits."""
        return {portion.request for lane in self._lanes.values() for portion in lane.portions}

    def add(self, request: Request, now: float) -> None:
        """Queue each item of a request in its lane."""
        owner = request if request.ticket.alone else None
        indices: dict[Hashable, list[int]] = {}
        for index, item in enumerate(request.items):
            indices.setdefault(bucket(item), []).append(index)
        for shape, mine in indices.items():
            kind = (id(request.model), request.operation, shape)
            limit = self._safe.get(kind, self._limits.of(request.operation))
            lane = self._lanes.setdefault((kind, owner), Lane(kind, owner, limit))
            lane.portions.append(Portion(request, mine, now))

    def drop(self, request: Request) -> None:
        """Forget what a request has waiting."""
        for lane in list(self._lanes.values()):
            lane.portions = deque(portion for portion in lane.portions if portion.request is not request)
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
        wait = self._limits.max_wait.total_seconds() if company else 0.0
        due = [lane for lane in lanes if lane.owner or now - lane.since >= wait or lane.waiting >= lane.limit]
        if not due:
            return min(lane.since for lane in lanes) + wait - now
        return max(due, key=lambda lane: self._urgency(lane, now))

    def take(self, lane: Lane, now: float) -> list[Slot]:
        """Remove and return the lane's next batch."""
        self._holder = lane.owner
        slots = lane.take(now)
        self._remove_if_empty(lane)
        return slots

    def remember_safe(self, kind: Hashable, size: int) -> None:
        """Form no batch of more than `size` of this kind again."""
        self._safe[kind] = max(1, size)
        for lane in self._lanes.values():
            if lane.kind == kind:
                lane.limit = self._safe[kind]

    def _urgency(self, lane: Lane, now: float) -> float:
        fill = min(1.0, lane.waiting / lane.limit)
        return (now - lane.since) / self._limits.patience.total_seconds() + fill

    def _remove_if_empty(self, lane: Lane) -> None:
        if not lane.portions:
            self._lanes.pop((lane.kind, lane.owner), None)
