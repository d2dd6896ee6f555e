"""Models that come and go under running jobs."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.errors import ModelFailed, ModelUnavailable
from worker.engine import Residency, Ticket
from worker.engine import residency as residencies


@dataclass
class Loader:
    """Loads the model that `make` makes, each time a fresh one."""

    make: Callable[[], Any]
    name: str = "echo"
    over: tuple[str, ...] = ()
    keep: bool = False
    loaded: list[weakref.ref[Any]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def load(self, _: Mapping[str, Any]) -> Any:
        assert self.gate.wait(20)
        model = self.make()
        self.loaded.append(weakref.ref(model))
        return model


class Other:
    """A capability beside `Echo`."""

    card = None

    def run(self, items: Any) -> Any:
        return list(items)


@pytest.fixture
def loader(echo_type: Any) -> Loader:
    loader = Loader(echo_type)
    loader.gate.set()
    return loader


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full collection for each eviction takes 0.2 s."""
    monkeypatch.setattr(residencies, "release_memory", lambda: None)


def residency(loader: Loader) -> Residency:
    """Return a residency that holds one model at a time."""
    other = Loader(Other)
    other.gate.set()
    sizes = iter(range(1000))
    return Residency({"Echo": loader, "Other": other}, budget_bytes=1, resident_bytes=lambda: next(sizes))


def is_resident(engine: Any, capability: str) -> bool:
    return next(one["resident"] for one in engine.stats().residency if one["capability"] == capability)


def test_an_absent_model_is_loaded_for_the_first_job_that_asks(
    bench: Any, echo_type: Any, loader: Loader
) -> None:
    engine, ticket = bench.engine(models=residency(loader)), Ticket()
    assert not is_resident(engine, "Echo")
    assert engine.map(echo_type.echo, [1], ticket=ticket) == [("echo", 1)]
    assert is_resident(engine, "Echo")
    assert ticket.models["Echo"].id == "echo"


def test_an_evicted_model_is_gone_although_it_served_the_last_batch(
    bench: Any, echo_type: Any, loader: Loader
) -> None:
    engine, ticket = bench.engine(models=residency(loader)), Ticket()
    pending = engine.submit(echo_type.echo, [1], ticket=ticket)
    pending.result()
    engine.map(Other.run, [1], ticket=ticket)
    assert not is_resident(engine, "Echo")
    gc.collect()
    assert loader.loaded[0]() is None
    assert engine.map(echo_type.echo, [2], ticket=ticket) == [("echo", 2)]


def test_a_job_for_an_absent_model_does_not_block_the_others(
    bench: Any, echo_type: Any, loader: Loader
) -> None:
    engine = bench.engine(models=residency(loader))
    engine.map(Other.run, [1], ticket=Ticket())
    loader.gate.clear()
    waiter = bench.start(engine.map, echo_type.echo, [1], ticket=Ticket())
    assert engine.map(Other.run, [2], ticket=Ticket()) == [2]
    assert not waiter.done()
    loader.gate.set()
    assert waiter.result(timeout=20) == [("echo", 1)]


def test_a_model_with_items_that_wait_is_not_evicted(bench: Any, echo_type: Any, loader: Loader) -> None:
    engine = bench.engine(models=residency(loader), start=False)
    pending = engine.submit(echo_type.echo, [1], ticket=Ticket())
    engine.submit(Other.run, [1], ticket=Ticket()).cancel()
    assert is_resident(engine, "Echo")
    pending.cancel()
    engine.submit(Other.run, [1], ticket=Ticket()).cancel()
    assert not is_resident(engine, "Echo")


def test_a_model_in_the_middle_of_a_batch_is_not_evicted_although_nobody_waits_for_it(
    bench: Any, echo_type: Any
) -> None:
    loader = Loader(lambda: bench.model)
    loader.gate.set()
    engine = bench.engine(models=residency(loader))
    bench.model.gate.clear()
    pending = engine.submit(echo_type.echo, [1], ticket=Ticket())
    bench.eventually(lambda: bench.model.batches)
    pending.cancel()
    engine.submit(Other.run, [1], ticket=Ticket()).cancel()
    assert is_resident(engine, "Echo")
    bench.model.gate.set()
    bench.eventually(lambda: engine.stats().batches)
    engine.map(Other.run, [1], ticket=Ticket())
    assert not is_resident(engine, "Echo")


def test_a_model_that_could_not_prepare_may_be_evicted(bench: Any, echo_type: Any, loader: Loader) -> None:
    engine = bench.engine(models=residency(loader))
    engine.model(echo_type).prepare = lambda _, __: []
    with pytest.raises(ModelFailed):
        engine.submit(echo_type.echo, [1], ticket=Ticket())
    engine.map(Other.run, [1], ticket=Ticket())
    assert not is_resident(engine, "Echo")


def test_asking_for_a_models_properties_loads_it(bench: Any, echo_type: Any, loader: Loader) -> None:
    engine = bench.engine(models=residency(loader))
    assert engine.model(echo_type).card.id == "echo"
    assert engine.model(echo_type, Ticket()).card.id == "echo"
    assert len(loader.loaded) == 1


def test_a_device_lost_in_a_load_ends_the_engine(bench: Any, echo_type: Any) -> None:
    def make() -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    loader, told = Loader(make), list[Exception]()
    loader.gate.set()
    engine = bench.engine(told.append, models=residency(loader))
    with pytest.raises(RuntimeError, match="CUDA error"):
        engine.map(echo_type.echo, [1], ticket=Ticket())
    assert len(told) == 1
    with pytest.raises(ModelUnavailable):
        engine.map(Other.run, [1], ticket=Ticket())


def test_closing_fails_a_job_that_waits_for_a_load(bench: Any, echo_type: Any, loader: Loader) -> None:
    engine = bench.engine(models=residency(loader))
    loader.gate.clear()
    waiter = bench.start(engine.map, echo_type.echo, [1], ticket=Ticket())
    engine.close()
    with pytest.raises(ModelUnavailable, match="the engine is closed"):
        waiter.result(timeout=20)
    loader.gate.set()
