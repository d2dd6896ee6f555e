"""What one `Engine.map` asks for: its items, and the answers as they come."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from worker.engine.ticket import Ticket
from worker.models.capabilities import Model

Operation = Callable[[Any, Sequence[Any]], Sequence[Any]]


class Request:
    """One call of `Engine.map`. The device thread answers it, any thread may fail it."""

    def __init__(self, model: Model, operation: Operation, items: Sequence[Any], ticket: Ticket) -> None:
        self.model = model
        #: The capability and its method: `TextEncoder.encode_texts`.
        self.operation = operation.__qualname__
        self.items = items
        self.ticket = ticket
        self._answers: list[Any] = [None] * len(items)
        self._missing = len(items)
        self._error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer still matters to somebody."""
        return self._missing > 0 and self._error is None and not self.ticket.stopped

    def answer(self, place: int, value: Any) -> None:
        """Give one item its answer, once."""
        self._answers[place] = value
        self._missing -= 1
        if self._missing == 0:
            self.ticket.wake()

    def fail(self, error: Exception) -> None:
        """End the whole request with `error`; the first error stays."""
        self._error = self._error or error
        self.ticket.wake()

    def result(self) -> list[Any]:
        """Block until every item has its answer; raise what failed the request, or stopped its ticket."""
        self.ticket.wait_until(lambda: self._missing == 0 or self._error is not None)
        if self._error is not None:
            raise self._error
        return self._answers


class Slot(NamedTuple):
    """One item of a request."""

    request: Request
    #: Its index in the request.
    place: int

    @property
    def item(self) -> Any:
        return self.request.items[self.place]


def bucket(item: Any) -> Hashable:
    """Return what an item has in common with those that may share its batch.

    Arrays and tensors share shape and dtype, tuples the bucket of each member, all else its type; texts, of
    whatever subclass, are one bucket.
    """
    if isinstance(item, str):
        return "text"
    if isinstance(item, tuple):
        return tuple(bucket(member) for member in item)
    if hasattr(item, "shape"):
        return type(item).__name__, tuple(item.shape), str(item.dtype)
    return type(item).__name__
