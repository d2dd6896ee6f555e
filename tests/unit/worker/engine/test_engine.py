"""What a job sees of the device thread."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from shared.errors import ModelFailed, ModelOutOfMemory, ModelUnavailable
from worker.engine import BatchLimits, Engine, Ticket


class Canceled(Exception):
    """The reason that these tests stop a ticket with."""


def echoes(*items: Any) -> list[Any]:
    return [("echo", item) for item in items]


def test_every_item_gets_its_own_answer_in_order(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    assert engine.map(echo_type.echo, range(20), ticket=Ticket()) == echoes(*range(20))


def test_no_items_no_call(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    assert engine.map(echo_type.echo, [], ticket=Ticket()) == []
    assert bench.model.batches == []


def test_items_of_several_jobs_share_a_batch(bench: Any) -> None:
    engine = bench.engine()
    bench.hold(engine)
    jobs = [bench.job(engine, [n, n + 100]) for n in range(4)]
    bench.model.gate.set()
    assert [job.result() for job in jobs] == [echoes(n, n + 100) for n in range(4)]
    assert sorted(bench.model.batches[1]) == [0, 1, 2, 3, 100, 101, 102, 103]


def test_operations_do_not_share_a_batch(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    bench.hold(engine)
    echo, shout = bench.job(engine, [1]), bench.job(engine, [2], operation=echo_type.shout)
    bench.model.gate.set()
    assert (echo.result(), shout.result()) == ([("echo", 1)], [("shout", 2)])
    assert sorted(bench.model.batches[1:]) == [[1], [2]]


def test_one_thread_alone_calls_the_model(bench: Any) -> None:
    engine = bench.engine()
    for job in [bench.job(engine, [n]) for n in range(16)]:
        job.result()
    assert bench.model.threads == {"device-cpu"}


def test_answers_come_in_order_although_texts_are_sorted_by_length(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    texts = ["dddd", "a", "ccc", "bb"]
    assert engine.map(echo_type.echo, texts, ticket=Ticket()) == echoes(*texts)
    assert bench.model.batches == [["a", "bb", "ccc", "dddd"]]


def test_an_operation_keeps_to_its_own_limit(bench: Any, echo_type: Any) -> None:
    engine = bench.engine(per_operation={"Echo.shout": 2})
    engine.map(echo_type.shout, range(4), ticket=Ticket())
    assert [len(batch) for batch in bench.model.batches] == [2, 2]


def test_a_job_alone_in_flight_never_waits(bench: Any, echo_type: Any) -> None:
    engine = bench.engine(max_wait=timedelta(hours=1))
    with engine.enter():
        assert engine.map(echo_type.echo, [1], ticket=Ticket()) == echoes(1)


def test_an_item_waits_for_another_job_in_flight_and_leaves_with_its_items(bench: Any) -> None:
    engine = bench.engine(max_wait=timedelta(hours=1))
    with engine.enter(), engine.enter():
        first = bench.job(engine, [1])
        assert not first.done()
        second = bench.job(engine, [2])
        assert first.result() + second.result() == echoes(1, 2)
    assert bench.model.batches == [[1, 2]]


def test_an_item_stops_waiting_when_the_other_job_leaves(bench: Any) -> None:
    engine = bench.engine(max_wait=timedelta(hours=1))
    with engine.enter():
        with engine.enter():
            job = bench.job(engine, [1])
            assert not job.done()
        assert job.result() == echoes(1)


def test_an_item_waits_no_longer_than_max_wait(bench: Any, echo_type: Any) -> None:
    engine = bench.engine(max_wait=timedelta(milliseconds=20))
    with engine.enter(), engine.enter():
        assert engine.map(echo_type.echo, [1], ticket=Ticket()) == echoes(1)


def test_a_guilty_item_fails_its_own_job_and_no_other(bench: Any) -> None:
    engine = bench.engine()
    bench.model.poison = {13}
    bench.hold(engine)
    neighbours = [bench.job(engine, [n]) for n in range(6)]
    guilty = bench.job(engine, [6, 13])
    bench.model.gate.set()
    assert [job.result() for job in neighbours] == [echoes(n) for n in range(6)]
    assert sorted(bench.model.batches[1]) == [0, 1, 2, 3, 4, 5, 6, 13]
    with pytest.raises(ModelFailed, match=r"^Echo\.echo, item 1: ValueError: cannot digest 13$") as failure:
        guilty.result()
    assert isinstance(failure.value.__cause__, ValueError)


def test_several_guilty_items_fail_each_their_own_job(bench: Any) -> None:
    engine = bench.engine()
    bench.model.poison = {1, 4, 5}
    bench.hold(engine)
    jobs = [bench.job(engine, [n]) for n in range(8)]
    bench.model.gate.set()
    outcomes = [job.exception() or job.result() for job in jobs]
    assert [isinstance(outcome, ModelFailed) for outcome in outcomes] == [n in {1, 4, 5} for n in range(8)]


def test_the_rest_of_a_failed_request_is_not_computed(bench: Any, echo_type: Any) -> None:
    engine = bench.engine(max_items=2)
    bench.model.poison = {0}
    with pytest.raises(ModelFailed):
        engine.map(echo_type.echo, range(100), ticket=Ticket())
    engine.map(echo_type.echo, [200], ticket=Ticket())
    assert sum(len(batch) for batch in bench.model.batches) < 10


@pytest.mark.parametrize("operation", ["drop_last", "forget"])
def test_a_model_that_gives_another_number_of_answers_has_failed(
    bench: Any, echo_type: Any, operation: str
) -> None:
    engine = bench.engine()
    with pytest.raises(ModelFailed, match=r"gave 0 answers for 1 items|NoneType"):
        engine.map(getattr(echo_type, operation), range(3), ticket=Ticket())


def test_out_of_memory_halves_the_batch_and_the_size_is_remembered(bench: Any, echo_type: Any) -> None:
    engine = bench.engine(max_items=8)
    bench.model.capacity = 3
    ticket = Ticket()
    assert engine.map(echo_type.echo, range(8), ticket=ticket) == echoes(*range(8))
    assert [len(batch) for batch in bench.model.batches] == [8, 4, 2, 2, 4, 2, 2]
    bench.model.batches.clear()
    assert engine.map(echo_type.echo, range(8), ticket=Ticket()) == echoes(*range(8))
    assert [len(batch) for batch in bench.model.batches] == [2, 2, 2, 2]
    assert ticket.largest_batch == 2


def test_a_size_learned_for_one_operation_does_not_bind_another(bench: Any, echo_type: Any) -> None:
    engine = bench.engine(max_items=8)
    bench.model.capacity = 4
    engine.map(echo_type.echo, range(8), ticket=Ticket())
    bench.model.capacity = None
    bench.model.batches.clear()
    engine.map(echo_type.shout, range(8), ticket=Ticket())
    assert [len(batch) for batch in bench.model.batches] == [8]


def test_an_item_that_does_not_fit_alone_fails_as_out_of_memory(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    bench.model.capacity = 0
    with pytest.raises(ModelOutOfMemory, match=r"item 0 does not fit into memory even alone: too many"):
        engine.map(echo_type.echo, [1], ticket=Ticket())


def test_an_item_that_does_not_fit_alone_does_not_shrink_the_batches_of_others(
    bench: Any, echo_type: Any
) -> None:
    engine = bench.engine(max_items=8)
    bench.model.giants = {"giant"}
    bench.hold(engine)
    giant = bench.job(engine, ["giant"])
    others = [bench.job(engine, [text]) for text in "abcdefg"]
    bench.model.gate.set()
    assert [job.result() for job in others] == [echoes(text) for text in "abcdefg"]
    assert isinstance(giant.exception(), ModelOutOfMemory)
    bench.model.batches.clear()
    engine.map(echo_type.echo, list("abcdefgh"), ticket=Ticket())
    assert [len(batch) for batch in bench.model.batches] == [8]


def test_a_batch_abandoned_after_it_ran_out_of_memory_teaches_nothing(bench: Any, echo_type: Any) -> None:
    engine = bench.engine(max_items=8)
    bench.model.capacity = 0
    bench.model.gate.clear()
    ticket = Ticket()
    job = bench.job(engine, list(range(8)), ticket=ticket)
    bench.eventually(lambda: bench.model.batches)
    ticket.stop(Canceled())
    assert isinstance(job.exception(), Canceled)
    bench.model.gate.set()
    bench.eventually(lambda: engine.stats().busy_seconds > 0)
    bench.model.capacity = None
    bench.model.batches.clear()
    engine.map(echo_type.echo, range(8), ticket=Ticket())
    assert [len(batch) for batch in bench.model.batches] == [8]


def test_a_model_that_tries_to_exit_fails_its_item_and_nothing_else(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    bench.model.broken = SystemExit(3)
    with pytest.raises(ModelFailed, match="item 0: SystemExit: 3"):
        engine.map(echo_type.echo, [1], ticket=Ticket())
    bench.model.broken = None
    assert engine.map(echo_type.echo, [1], ticket=Ticket()) == echoes(1)


def test_jobs_learn_of_a_lost_device_even_when_telling_fails(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def on_fatal(_: Exception) -> None:
        raise OSError("nobody listens")

    engine = bench.engine(on_fatal)
    bench.model.broken = RuntimeError("CUDA error: unspecified launch failure")
    assert isinstance(bench.job(engine, [1]).exception(timeout=20), ModelUnavailable)
    engine.close()


def test_nothing_shares_a_batch_with_an_alone_job_nor_runs_between_its_batches(bench: Any) -> None:
    engine = bench.engine(max_items=4)
    bench.hold(engine)
    before = bench.job(engine, [1, 2])
    alone = bench.job(engine, list(range(10, 20)), ticket=Ticket(alone=True))
    after = bench.job(engine, [3, 4])
    bench.model.gate.set()
    assert alone.result() == echoes(*range(10, 20))
    assert before.result() + after.result() == echoes(1, 2, 3, 4)
    batches = bench.model.batches
    places = [place for place, batch in enumerate(batches) if batch[0] in range(10, 20)]
    assert places == list(range(places[0], places[0] + 3))
    assert all(set(batches[place]) <= set(range(10, 20)) for place in places)


def test_a_stopped_job_raises_its_reason_while_the_device_is_busy_with_others(bench: Any) -> None:
    engine = bench.engine()
    held, ticket = bench.hold(engine), Ticket()
    queued = bench.job(engine, [1], ticket=ticket)
    ticket.stop(Canceled("by its owner"))
    with pytest.raises(Canceled, match="by its owner"):
        queued.result(timeout=20)
    assert not held.done()
    assert engine.stats().waiting == 0
    bench.model.gate.set()
    assert held.result() == echoes("held")
    assert bench.model.batches == [["held"]]


def test_a_stopped_job_raises_its_reason_while_the_device_is_busy_with_it(bench: Any) -> None:
    engine = bench.engine()
    ticket = Ticket()
    bench.model.gate.clear()
    job = bench.job(engine, [1], ticket=ticket)
    ticket.stop(Canceled())
    with pytest.raises(Canceled):
        job.result(timeout=20)


def test_a_stopped_job_does_not_harm_its_neighbours_in_the_batch(bench: Any) -> None:
    engine = bench.engine()
    bench.hold(engine)
    ticket = Ticket()
    stopped, neighbour = bench.job(engine, [1], ticket=ticket), bench.job(engine, [2])
    ticket.stop(Canceled())
    bench.model.gate.set()
    assert neighbour.result() == echoes(2)
    assert isinstance(stopped.exception(), Canceled)


def test_a_job_stopped_before_it_asks_never_reaches_the_device(bench: Any, echo_type: Any) -> None:
    engine, ticket = bench.engine(), Ticket()
    ticket.stop(Canceled())
    with pytest.raises(Canceled):
        engine.map(echo_type.echo, [1], ticket=ticket)
    assert bench.model.batches == []


def test_ten_thousand_items_do_not_starve_one(bench: Any) -> None:
    engine = bench.engine(max_items=4)
    bench.hold(engine)
    large = bench.job(engine, list(range(10_000)))
    small = bench.job(engine, [-1])
    bench.model.gate.set()
    assert small.result() == echoes(-1)
    assert large.result() == echoes(*range(10_000))
    assert -1 in bench.model.batches[1]


def test_a_ticket_learns_what_its_job_cost(bench: Any) -> None:
    engine = bench.engine()
    bench.hold(engine)
    tickets = [Ticket(), Ticket()]
    jobs = [bench.job(engine, [n, n + 10], ticket=ticket) for n, ticket in enumerate(tickets)]
    bench.model.gate.set()
    for job in jobs:
        job.result()
    assert [ticket.largest_batch for ticket in tickets] == [4, 4]
    assert [ticket.models for ticket in tickets] == [{"Echo": bench.model.card}] * 2
    assert all(ticket.model_seconds > 0 for ticket in tickets)


def test_a_lost_device_is_told_first_and_then_fails_every_job(bench: Any, echo_type: Any) -> None:
    told = threading.Event()
    causes: list[Exception] = []

    def on_fatal(error: Exception) -> None:
        causes.append(error)
        assert told.wait(20)

    engine = bench.engine(on_fatal)
    bench.hold(engine)
    jobs = [bench.job(engine, [n]) for n in range(2)]
    bench.model.broken = RuntimeError("CUDA error: device-side assert triggered")
    bench.model.gate.set()
    bench.eventually(lambda: causes)
    assert not any(job.done() for job in jobs)
    told.set()
    for job in jobs:
        with pytest.raises(ModelUnavailable, match="CUDA error"):
            job.result(timeout=20)
    with pytest.raises(ModelUnavailable):
        engine.map(echo_type.echo, [1], ticket=Ticket())


def test_a_dead_device_thread_gives_no_sign_of_life(bench: Any) -> None:
    engine = bench.engine()
    bench.model.broken = RuntimeError("CUDA error: unspecified launch failure")
    assert isinstance(bench.job(engine, [1]).exception(), ModelUnavailable)
    assert engine.last_progress() == engine.last_progress() < time.monotonic()


def test_closing_fails_what_waits_and_what_comes(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    jobs = [bench.hold(engine), bench.job(engine, [1])]
    engine.close(timedelta(0))
    for job in jobs:
        with pytest.raises(ModelUnavailable, match="the engine is closed"):
            job.result(timeout=20)
    with pytest.raises(ModelUnavailable, match="the engine is closed"):
        engine.map(echo_type.echo, [1], ticket=Ticket())


def test_closing_waits_for_the_model_call_in_progress(bench: Any) -> None:
    engine = bench.engine()
    engine.close()
    assert "device-cpu" not in {thread.name for thread in threading.enumerate()}


def test_an_engine_that_never_started_closes(bench: Any) -> None:
    bench.engine(start=False).close()


def test_idle_is_alive(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    engine.map(echo_type.echo, [1], ticket=Ticket())
    before = time.monotonic()
    bench.eventually(lambda: engine.last_progress() >= before)


def test_a_call_that_does_not_return_gives_no_sign_of_life(bench: Any) -> None:
    engine = bench.engine()
    bench.hold(engine)
    assert engine.last_progress() == engine.last_progress() < time.monotonic()


def test_stats_count_batches_by_operation_and_size(bench: Any, echo_type: Any) -> None:
    engine = bench.engine()
    engine.map(echo_type.echo, range(11), ticket=Ticket())
    engine.map(echo_type.shout, range(3), ticket=Ticket())
    stats = engine.stats()
    assert stats.batches == {"Echo.echo": {8: 1, 3: 1}, "Echo.shout": {3: 1}}
    assert (stats.items, stats.waiting) == (14, 0)
    assert stats.busy_seconds > 0
    assert stats.as_json()["batches"] == {"Echo.echo": {8: 1, 3: 1}, "Echo.shout": {3: 1}}


def test_a_model_is_found_by_its_capability(bench: Any, echo_type: Any) -> None:
    assert bench.engine().model(echo_type) is bench.model


def test_a_capability_that_the_profile_lacks_is_named(bench: Any) -> None:
    class Painter:
        def paint(self, items: Any) -> Any: ...

    engine = Engine({"Echo": bench.model}, device="cpu", limits=BatchLimits())
    with pytest.raises(ModelUnavailable, match="this worker's profile has no Painter; it has Echo"):
        engine.model(Painter)


def test_importing_the_engine_loads_no_torch() -> None:
    code = "import sys, worker.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
