"""Where each capability's model stands, or would: what was measured of it, and which one may go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Protocol

from shared.jobs import Json
from worker.models.capabilities import Model


class Loader(Protocol):
    """How to get the model of one capability."""

    @property
    def load(self) -> Callable[[Mapping[str, Model]], Model]:
        """Return the function that loads and warms the model, given the models that it is `over`."""

    @property
    def over(self) -> tuple[str, ...]:
        """Return the capabilities that the model is built over; they stay while it does."""

    @property
    def keep(self) -> bool:
        """Return whether the model, once loaded, stays for good."""

    @property
    def name(self) -> str:
        """Return the name people know the model by."""


class Place:
    """One capability, its model absent or resident. The residency's lock guards it."""

    def __init__(self, capability: str, loader: Loader, expected_bytes: int = 0) -> None:
        self.capability = capability
        self.loader = loader
        #: What the first load is expected to take; 0: nobody knows.
        self.expected_bytes = expected_bytes
        self.model: Model | None = None
        #: The load under way, for all who wait for it.
        self.load: Future[Model] | None = None
        #: The most that a load was seen to take; 0 before the first.
        self.bytes = 0
        #: Who needs the model now, those who wait for it included.
        self.pins = 0
        #: Grows with every use of any model: the least was unused the longest.
        self.used = 0
        self.loads = 0
        self.evictions = 0

    def fill(self, model: Model, size: int) -> None:
        """Take the loaded model and what its load took, in bytes; less than nothing counts as nothing."""
        self.model = model
        # A load beside which others let go of memory looks smaller than it is.
        self.bytes = max(self.bytes, size)
        self.loads += 1

    def empty(self) -> None:
        """Let the model go."""
        self.model = None
        self.evictions += 1

    def as_json(self) -> Json:
        return {
            "capability": self.capability,
            "id": self.loader.name,
            "bytes": self.bytes,
            "keep": self.loader.keep,
            "resident": self.model is not None,
            "loads": self.loads,
            "evictions": self.evictions,
        }


def occupied(places: Iterable[Place]) -> int:
    """Return the bytes that the resident models take."""
    return sum(place.bytes for place in places if place.model is not None)


def longest_unused(places: Iterable[Place]) -> Place | None:
    """Return the model to let go first: not kept, not pinned, under no resident model; None: none."""
    resident = [place for place in places if place.model is not None]
    below = {name for place in resident for name in place.loader.over}
    free = [
        place
        for place in resident
        if not place.loader.keep and place.pins == 0 and place.capability not in below
    ]
    return min(free, key=lambda place: place.used, default=None)
