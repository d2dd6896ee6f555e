"""Items that may share a batch, in the order in which they are served."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

from shared.jobs import Priority
from worker.engine.arrivals import Arrivals
from worker.engine.items import is_padded
from worker.engine.requests import Request, Slot


class Kind(NamedTuple):
    """What all items of a batch have in common. An operation names its capability, and so its model."""

    operation: str
    shape: Hashable


class Portion:
    """What one request still has waiting in one lane."""

    def __init__(self, request: Request, indices: list[int], now: float) -> None:
        self.request = request
        #: Those that are padded wait sorted by length, so that even a long request is cut into like batches.
        self.indices = _sorted(request, indices)
        #: Its place in the order of arrival.
        self.number = 0
        #: When it came, or was last given a share of a batch.
        self.since = now

    def take(self, count: int, like: Slot | None = None) -> list[Slot]:
        """Remove up to `count` items: of padded ones, those whose length is nearest to another's."""
        start = 0
        if like is not None and is_padded(like.item):
            items, length = self.request.items, len(like.item)
            place = bisect_left(self.indices, length, key=lambda index: len(items[index]))
            start = max(0, min(place - count // 2, len(self.indices) - count))
        taken = self.indices[start : start + count]
        del self.indices[start : start + count]
        return [Slot(self.request, index) for index in taken]


class Lane:
    """The items of one kind: they may share a batch."""

    def __init__(self, kind: Kind, owner: Request | None, limit: int, arrivals: Arrivals) -> None:
        self.kind = kind
        #: The request of an `alone` ticket has its lanes to itself; None: shared.
        self.owner = owner
        #: Items in one batch.
        self.limit = limit
        #: Of every lane of this operation.
        self.arrivals = arrivals
        self.waiting = 0
        self._came = 0
        #: Longest unserved first: newcomers, and whoever got a share, go to the end.
        self.portions: deque[Portion] = deque()

    @property
    def since(self) -> float:
        return self.portions[0].since

    @property
    def priority(self) -> Priority:
        """Return that of the most urgent job that waits here."""
        return min(portion.request.ticket.priority for portion in self.portions)

    def add(self, portion: Portion) -> None:
        """Queue what a request brings."""
        self._came += 1
        portion.number = self._came
        self.portions.append(portion)
        self.waiting += len(portion.indices)

    def drop(self, request: Request) -> None:
        """Forget what a request has waiting here."""
        self.portions = deque(portion for portion in self.portions if portion.request is not request)
        self.waiting = sum(len(portion.indices) for portion in self.portions)

    def take(self, now: float) -> list[Slot]:
        """Remove the next batch: half for the most urgent request, the rest in even shares in turn.

        Even shares alone keep a large request from starving a small one, but have all that came together end
        together: then every job settles at once, and the device has nothing to do. Texts come sorted by
        length, since a batch of texts is padded to its longest.
        """
        slots = self._take_of_first(now)
        while self.portions and len(slots) < self.limit:
            share = (self.limit - len(slots)) // len(self.portions)
            portion = self.portions.popleft()
            slots += portion.take(max(1, share), like=slots[-1])
            portion.since = now
            if portion.indices:
                self.portions.append(portion)
        self.waiting -= len(slots)
        if is_padded(slots[0].item):
            slots.sort(key=lambda slot: len(slot.item))
        return slots

    def _take_of_first(self, now: float) -> list[Slot]:
        first = min(self.portions, key=lambda portion: (portion.request.ticket.priority, portion.number))
        self.portions.remove(first)
        slots = first.take((self.limit + 1) // 2)
        first.since = now
        if first.indices:
            self.portions.append(first)
        return slots

    def due(self, now: float, max_wait: float) -> float:
        """Return when the next batch should leave, seconds as `now`; in the past or present: at once."""
        if self.owner or self.waiting >= self.limit:
            return now
        return min(self.since + max_wait, self.arrivals.hope_ends())


def _sorted(request: Request, indices: list[int]) -> list[int]:
    if not is_padded(request.items[indices[0]]):
        return indices
    return sorted(indices, key=lambda index: len(request.items[index]))
