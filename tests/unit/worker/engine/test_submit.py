"""Answers that are asked for later: streams, preparation, and what is left behind."""

from __future__ import annotations

import threading
import weakref
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from shared.errors import FileMissing, IconotextError, ModelFailed, ModelOutOfMemory, ModelUnavailable
from worker.engine import Ticket


class Canceled(Exception):
    """The reason that these tests stop a ticket with."""


def echoes(*items: Any) -> list[Any]:
    return [("echo", item) for item in items]


def test_a_job_may_hand_over_its_items_one_by_one(bench: Any, echo_type: Any) -> None:
    engine, ticket = bench.engine(), Ticket()
    bench.hold(engine)
    pending = [engine.submit(echo_type.echo, [n], ticket=ticket) for n in range(5)]
    bench.model.gate.set()
    assert [one.result() for one in pending] == [echoes(n) for n in range(5)]
    assert bench.model.batches[1:] == [[0, 1, 2, 3, 4]]


def test_what_one_job_submits_is_no_company_for_itself(bench: Any, echo_type: Any) -> None:
    engine, ticket = bench.engine(max_wait=timedelta(hours=1)), Ticket()
    with engine.enter(ticket):
        pending = [engine.submit(echo_type.echo, [n], ticket=ticket) for n in range(3)]
        assert [one.result() for one in pending] == [echoes(n) for n in range(3)]


def test_answers_may_be_asked_for_again(bench: Any, echo_type: Any) -> None:
    pending = bench.engine().submit(echo_type.echo, [1], ticket=Ticket())
    assert pending.result() == pending.result() == echoes(1)
    pending.cancel()
    assert pending.result() == echoes(1)


def test_nothing_submitted_is_answered_with_nothing(bench: Any, echo_type: Any) -> None:
    assert bench.engine().submit(echo_type.echo, [], ticket=Ticket()).result() == []


def test_a_cancelled_request_leaves_no_item_and_has_no_result(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    held = bench.hold(engine)
    pending = engine.submit(echo_type.echo, [1, 2], ticket=Ticket())
    pending.cancel()
    pending.cancel()
    assert engine.stats().waiting == 0
    with pytest.raises(ModelUnavailable, match="gave this request up"):
        pending.result()
    bench.model.gate.set()
    assert held.result() == echoes("held")
    assert bench.model.batches == [["held"]]


def test_a_job_that_leaves_takes_along_what_it_submitted(bench: Any, echo_type: Any) -> None:
    engine, ticket = bench.engine(), Ticket()
    bench.hold(engine)
    stays = engine.submit(echo_type.echo, [1], ticket=Ticket())
    with engine.enter(ticket):
        engine.submit(echo_type.echo, [2, 3], ticket=ticket)
        engine.submit(echo_type.shout, [4], ticket=ticket)
        assert engine.stats().waiting == 4
    assert engine.stats().waiting == 1
    bench.model.gate.set()
    assert stays.result() == echoes(1)


def test_a_stopped_job_leaves_no_items_of_the_request_it_waits_for(bench: Any, echo_type: Any) -> None:
    engine, ticket = bench.engine(), Ticket()
    bench.hold(engine)
    pending = engine.submit(echo_type.echo, [1], ticket=ticket)
    ticket.stop(Canceled())
    with pytest.raises(Canceled):
        pending.result()
    assert engine.stats().waiting == 0
    with pytest.raises(Canceled):
        engine.submit(echo_type.echo, [2], ticket=ticket)


def test_one_failed_request_of_a_job_leaves_its_others(bench: Any, echo_type: Any) -> None:
    engine, ticket = bench.engine(), Ticket()
    bench.model.poison = {13}
    good, bad = (engine.submit(echo_type.echo, [n], ticket=ticket) for n in (1, 13))
    with pytest.raises(ModelFailed, match="item 0"):
        bad.result()
    assert good.result() == echoes(1)


def test_a_guilty_item_is_named_by_its_place_in_the_job(bench: Any, echo_type: Any) -> None:
    engine, ticket = bench.engine(), Ticket()
    bench.model.poison = {13}
    with pytest.raises(ModelFailed, match=r"^Echo\.echo, item 17: "):
        engine.submit(echo_type.echo, [12, 13], ticket=ticket, first=16).result()


def test_answered_pictures_are_let_go_before_the_job_ends(bench: Any, echo_type: Any) -> None:
    bench.model.echo = lambda items: [int(item.sum()) for item in items]
    engine, picture = bench.engine(), np.ones((2, 2, 3), np.uint8)
    gone = weakref.ref(picture)
    pending = engine.submit(echo_type.echo, [picture], ticket=Ticket())
    assert pending.result() == [12]
    del picture
    bench.eventually(lambda: gone() is None)


def test_a_model_prepares_items_in_the_thread_of_their_job(bench: Any, echo_type: Any) -> None:
    threads: list[str] = []

    def prepare(method: str, items: Any) -> Any:
        threads.append(threading.current_thread().name)
        return [f"{method} {item}" for item in items]

    bench.model.prepare = prepare
    answers = bench.engine().map(echo_type.shout, ["hello"], ticket=Ticket())
    assert answers == [("shout", "shout hello")]
    assert threads == [threading.current_thread().name]


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (ValueError("odd"), ModelFailed, r"^Echo\.echo, preparing: ValueError: odd$"),
        (SystemExit(3), ModelFailed, "preparing: SystemExit: 3"),
        (MemoryError("10 GB"), ModelOutOfMemory, "do not fit into memory: 10 GB"),
        (FileMissing("its own words"), FileMissing, "^its own words$"),
    ],
)
def test_a_model_that_cannot_prepare_fails_the_job(
    bench: Any, echo_type: Any, error: BaseException, expected: type[IconotextError], message: str
) -> None:
    def prepare(_: str, __: Any) -> Any:
        raise error

    engine = bench.engine()
    bench.model.prepare = prepare
    with pytest.raises(expected, match=message):
        engine.map(echo_type.echo, [1], ticket=Ticket())
    del bench.model.prepare
    assert engine.map(echo_type.echo, [1], ticket=Ticket()) == echoes(1)


@pytest.mark.parametrize("ready", [[1], None])
def test_a_model_that_prepares_another_number_of_items_has_failed(
    bench: Any, echo_type: Any, ready: Any
) -> None:
    bench.model.prepare = lambda _, __: ready
    with pytest.raises(ModelFailed, match=r"gave 1 items for 2|NoneType"):
        bench.engine().map(echo_type.echo, [1, 2], ticket=Ticket())


def test_a_model_knows_its_best_batch(bench: Any, echo_type: Any) -> None:
    bench.model.batch_limits = {"echo": 2}
    engine = bench.engine(max_items=4)
    engine.map(echo_type.echo, range(4), ticket=Ticket())
    engine.map(echo_type.shout, range(4), ticket=Ticket())
    assert [len(batch) for batch in bench.model.batches] == [2, 2, 4]


def test_a_size_that_memory_taught_holds_beside_what_the_model_thinks_best(
    bench: Any, echo_type: Any
) -> None:
    engine = bench.engine(max_items=8)
    bench.model.capacity = 4
    engine.map(echo_type.echo, range(8), ticket=Ticket())
    bench.model.batches.clear()
    for best, sizes in ((8, [4, 4]), (2, [2, 2, 2, 2])):
        bench.model.batch_limits = {"echo": best}
        bench.model.batches.clear()
        engine.map(echo_type.echo, range(8), ticket=Ticket())
        assert [len(batch) for batch in bench.model.batches] == sizes
