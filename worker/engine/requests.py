"""What one `Engine.submit` asks for: its items, and the answers as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from worker.engine.ticket import Ticket


class Request:
    """One call of `Engine.submit`. The device thread answers it, any thread may fail it."""

    def __init__(
        self,
        operation: str,
        items: Sequence[Any],
        ticket: Ticket,
        *,
        best_batch: int | None = None,
        first: int = 0,
    ) -> None:
        """Take what is asked; it holds no model, so that an idle one may go.

        Args:
            operation: the capability and its method, `TextEncoder.encode_texts`.
            items: as the model prepared them.
            ticket: of the job that asks.
            best_batch: the batch size that the model measured as its best, in items.
            first: what the job calls the first of these items, when it hands them over in groups.
        """
        self.operation = operation
        self.capability = operation.partition(".")[0]
        self.items = items
        self.ticket = ticket
        self.best_batch = best_batch
        self.first = first
        self._answers: list[Any] = [None] * len(items)
        self._missing = len(items)
        self._error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer still matters to somebody."""
        return self._missing > 0 and self._error is None and not self.ticket.stopped

    @property
    def is_answered(self) -> bool:
        """Whether every item has its answer."""
        return self._missing == 0

    def answer(self, place: int, value: Any) -> bool:
        """Give one item its answer, once; return whether it was the last: the ticket must be woken."""
        self._answers[place] = value
        self._missing -= 1
        if self._missing:
            return False
        # A job may hold many answered requests, and pictures are large.
        self.items = ()
        return True

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
    def name(self) -> str:
        """Return what the job knows the item by."""
        return f"{self.request.operation}, item {self.request.first + self.place}"

    @property
    def item(self) -> Any:
        return self.request.items[self.place]
