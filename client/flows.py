"""Conversations with a service, apart from how they are held.

A flow is a generator: it yields what it needs done next, and is sent what came of it. Blocking or
asynchronous, whoever drives it (`client.driving`) does the same things in the same order, so that every
method of both clients is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request, and answer with its response, read whole; a `TransportError` is raised in the flow."""

    request: httpx.Request


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request, and answer with its response, whose body comes by `Listen`; a refusal is read whole.

    A flow has one open response at a time: the next `Open`, or the flow's end, closes it.
    """

    request: httpx.Request


@dataclass(frozen=True, slots=True)
class Listen:
    """Answer with the next piece of the open response; None at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work(Generic[Value]):
    """Answer with what a function returns that takes its time: reading files, parsing much."""

    function: Callable[[], Value]


@dataclass(frozen=True, slots=True)
class Tell(Generic[Value]):
    """Call whoever listens; an asynchronous listener is waited for."""

    listener: Callable[[Value], object]
    news: Value


@dataclass(frozen=True, slots=True)
class Begin:
    """Set another flow going beside this one, and answer with its future."""

    flow: Generator[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Await:
    """Answer with the first of these futures that is done."""

    futures: Sequence[Future[Any]]


@dataclass(frozen=True, slots=True)
class Emit(Generic[Value]):
    """Hand a value to whoever iterates."""

    value: Value


Step = Send | Open | Listen | Pause | Work[Any] | Tell[Any] | Begin | Await

#: Ends with a value.
Flow = Generator[Step, Any, Value]
#: Hands out values on its way.
Stream = Generator[Step | Emit[Value], Any, None]


def work(function: Callable[[], Value]) -> Flow[Value]:
    """Return what a slow function returns."""
    answer: Value = yield Work(function)
    return answer
