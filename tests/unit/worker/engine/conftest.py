"""A model that does as it is told, and an engine around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from worker.engine import BatchLimits, Engine, Ticket
from worker.models.capabilities import ModelCard

DEADLINE_S = 20.0


class Echo:
    """Answers each item with itself and its operation; keeps every batch; chokes on what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.threads: set[str] = set()
        #: Items that raise.
        self.poison: set[Any] = set()
        #: Items that fit into memory; None: any number.
        self.capacity: int | None = None
        #: Items that do not fit into memory even alone.
        self.giants: set[Any] = set()
        #: Raised at every call.
        self.broken: BaseException | None = None
        #: Closed, calls block inside the model.
        self.gate = threading.Event()
        self.gate.set()

    @property
    def card(self) -> ModelCard:
        return ModelCard(id="echo", revision="1", grade="test", licence="none", device="cpu", dtype="none")

    def warm_up(self) -> None:
        """Nothing to do."""

    def echo(self, items: Sequence[Any]) -> list[Any]:
        return self._answer("echo", items)

    def shout(self, items: Sequence[Any]) -> list[Any]:
        return self._answer("shout", items)

    def drop_last(self, items: Sequence[Any]) -> list[Any]:
        return self._answer("drop_last", items)[:-1]

    def forget(self, items: Sequence[Any]) -> None:
        self._answer("forget", items)

    def _answer(self, operation: str, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(DEADLINE_S)
        if self.broken is not None:
            raise self.broken
        if self.capacity is not None and len(items) > self.capacity:
            raise MemoryError("too many")
        if self.giants.intersection(items):
            raise MemoryError("too large")
        for item in items:
            if item in self.poison:
                raise ValueError(f"cannot digest {item}")
        return [(operation, item) for item in items]


class Bench:
    """Engines on a workbench: jobs run in threads, and nobody sleeps."""

    def __init__(self) -> None:
        self.model = Echo()
        self._engines: list[Engine] = []
        self._threads = ThreadPoolExecutor(64)

    def engine(
        self,
        on_fatal: Callable[[Exception], None] = lambda _: None,
        *,
        start: bool = True,
        models: Any = None,
        **limits: Any,
    ) -> Engine:
        limits = {"max_items": 8, "max_wait": timedelta(hours=1), **limits}
        models = models or {"Echo": self.model}
        engine = Engine(models, device="cpu", limits=BatchLimits(**limits), on_fatal=on_fatal)
        self._engines.append(engine)
        if start:
            engine.start()
        return engine

    def start(self, work: Callable[..., Any], *given: Any, **named: Any) -> Future[Any]:
        """Do something in a thread of its own."""
        return self._threads.submit(work, *given, **named)

    def job(
        self,
        engine: Engine,
        items: Sequence[Any],
        *,
        operation: Any = Echo.echo,
        ticket: Ticket | None = None,
    ) -> Future[list[Any]]:
        """Map in a thread of its own; return once the items have reached the engine."""
        ticket = ticket or Ticket()
        before = engine.stats()
        future = self._threads.submit(engine.map, operation, items, ticket=ticket)
        self.eventually(lambda: future.done() or engine.stats() != before or items in self.model.batches)
        return future

    def hold(self, engine: Engine, item: Any = "held") -> Future[list[Any]]:
        """Keep the device busy with one item until `model.gate` is set."""
        self.model.gate.clear()
        future = self.job(engine, [item])
        self.eventually(lambda: self.model.batches and self.model.batches[-1] == [item])
        return future

    def eventually(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition, with a deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.001)

    def close(self) -> None:
        self.model.gate.set()
        for engine in self._engines:
            engine.close()
        self._threads.shutdown()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def new_bench() -> type[Bench]:
    """For tests that need a fresh one for every example."""
    return Bench


@pytest.fixture(scope="session")
def echo_type() -> type[Echo]:
    """The capability, to name its operations."""
    return Echo
