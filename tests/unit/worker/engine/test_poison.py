"""One bad item among fifteen good ones, each kind of badness as a model meets it."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pytest

from shared.errors import ModelFailed, ModelOutOfMemory, ModelUnavailable
from worker.engine import Ticket, execution


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


class AcceleratorError(RuntimeError):
    """As torch names what CUDA reports."""


class Array:
    """What a batch holds on the device."""


def poisoned(model: Any, error: BaseException) -> Any:
    """Return the double, which now raises `error` for any batch that holds "poison"."""
    answer = model.echo

    def echo(items: Any) -> Any:
        if "poison" in items:
            raise error
        return answer(items)

    model.echo = echo
    return model


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full collection for each out-of-memory takes 0.2 s."""
    monkeypatch.setattr(execution, "release_memory", lambda: None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("cannot digest"), ModelFailed),
        (ZeroDivisionError(), ModelFailed),
        (SystemExit(3), ModelFailed),
        (asyncio.CancelledError(), ModelFailed),
        (KeyboardInterrupt(), ModelFailed),
        (RecursionError("too deep"), ModelFailed),
        (MemoryError("10 GB"), ModelOutOfMemory),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 10.00 GiB"), ModelOutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 10737418240"), ModelOutOfMemory),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.__name__,
)
def test_the_fifteen_good_ones_succeed_and_the_engine_serves_on(
    bench: Any, echo_type: Any, error: BaseException, expected: type[Exception]
) -> None:
    poisoned(bench.model, error)
    engine = bench.engine(max_items=16)
    bench.hold(engine)
    good = [bench.job(engine, [f"good {n}"]) for n in range(15)]
    bad = bench.job(engine, ["poison"])
    bench.model.gate.set()
    assert [job.result(timeout=20) for job in good] == [[("echo", f"good {n}")] for n in range(15)]
    with pytest.raises(expected, match=r"Echo\.echo, item 0"):
        bad.result(timeout=20)
    bench.model.batches.clear()
    engine.map(echo_type.echo, [f"{n}" for n in range(16)], ticket=Ticket())
    assert [len(batch) for batch in bench.model.batches] == [16]


def test_what_a_failed_batch_held_is_free_before_the_next_is_tried(
    bench: Any, echo_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Array]] = []
    alive: list[bool] = []

    def echo(items: Any) -> Any:
        array = Array()
        held.append(weakref.ref(array))
        if len(items) > 2:
            raise OutOfMemoryError("CUDA out of memory")
        return items

    bench.model.echo = echo
    monkeypatch.setattr(execution, "release_memory", lambda: alive.append(held[-1]() is not None))
    assert bench.engine().map(echo_type.echo, list("abcdefgh"), ticket=Ticket()) == list("abcdefgh")
    assert alive == [False, False, False]


@pytest.mark.parametrize(
    "error",
    [
        AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_an_error_that_sticks_to_the_device_ends_the_engine_at_once(
    bench: Any, echo_type: Any, error: Exception
) -> None:
    poisoned(bench.model, error)
    told: list[Exception] = []
    engine = bench.engine(told.append)
    with pytest.raises(ModelUnavailable, match="the device is lost: CUDA error"):
        engine.map(echo_type.echo, ["a", "poison", "b"], ticket=Ticket())
    assert [one.__cause__ for one in told] == [error]
    assert bench.model.batches == []
