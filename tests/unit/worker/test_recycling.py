"""A worker that grew too large makes room for another, once, after what it does."""

from __future__ import annotations

from worker.recycling import Recycler


def test_a_process_within_its_mark_goes_on() -> None:
    ends: list[str] = []
    recycler = Recycler(100, resident_bytes=lambda: 100, end=lambda: ends.append("end"))

    recycler.round()

    assert (ends, recycler.recycled) == ([], False)


def test_a_process_past_its_mark_is_asked_to_end_once() -> None:
    ends: list[str] = []
    recycler = Recycler(100, resident_bytes=lambda: 101, end=lambda: ends.append("end"))

    recycler.round()
    recycler.round()

    assert (ends, recycler.recycled) == (["end"], True)
