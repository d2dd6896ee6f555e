"""A job's handle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.engine import Ticket


def test_a_ticket_that_runs_passes_every_check() -> None:
    ticket = Ticket()
    ticket.check()
    assert not ticket.stopped


def test_the_first_reason_stays() -> None:
    ticket = Ticket()
    ticket.stop(ValueError("first"))
    ticket.stop(KeyError("second"))
    assert ticket.stopped
    with pytest.raises(ValueError, match="first"):
        ticket.check()


def test_stopping_wakes_whoever_waits() -> None:
    ticket = Ticket()
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(ticket.wait_until, lambda: False)
        ticket.stop(ValueError("enough"))
        with pytest.raises(ValueError, match="enough"):
            waiter.result(timeout=20)


def test_a_stopped_ticket_raises_even_when_what_it_waits_for_has_happened() -> None:
    ticket = Ticket()
    ticket.stop(ValueError("too late"))
    with pytest.raises(ValueError, match="too late"):
        ticket.wait_until(lambda: True)
