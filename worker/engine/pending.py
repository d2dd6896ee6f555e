"""Answers that are on their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from worker.engine.requests import Request

Answer = TypeVar("Answer")


class Pending(Generic[Answer]):
    """What `Engine.submit` gives: the answers of one request, sooner or later. Ask for them, or cancel."""

    def __init__(self, request: Request, end: Callable[[Request], None]) -> None:
        self._request = request
        self._end = end

    def result(self) -> list[Answer]:
        """Block until every item has its answer; return them in order. It may be asked again.

        Raises:
            ModelFailed: the model fails on one of these items even alone; names it.
            ModelOutOfMemory: one of these items does not fit even alone.
            ModelUnavailable: the engine is closed.
            Exception: the reason the ticket was stopped with, at once, whatever the device is doing.
        """
        try:
            return self._request.result()
        finally:
            self._end(self._request)

    def cancel(self) -> None:
        """Leave no item waiting; `result` raises, unless every answer is there. Any number of times."""
        self._end(self._request)
