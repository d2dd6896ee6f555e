"""Event streams are read as the HTML standard says, however the network cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.events import Event, EventParser


def read(*pieces: bytes) -> list[Event]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        # The standard's own examples.
        (
            (
                b"data: This is the first message.\n\n"
                b"data: This is the second message, it\ndata: has two lines.\n\n"
            ),
            [
                Event("message", "This is the first message.", ""),
                Event("message", "This is the second message, it\nhas two lines.", ""),
            ],
        ),
        (
            b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
            [("add", "73857293"), ("remove", "2153")],
        ),
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [
                Event("message", "first event", "1"),
                Event("message", "second event", ""),
                Event("message", " third event", ""),
            ],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [("message", ""), ("message", "\n")]),
        (b"data:test\n\ndata: test\n\n", [("message", "test"), ("message", "test")]),
        # Ends of lines.
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\r\n", [("message", "a"), ("message", "b"), ("message", "c")]),
        # An id lasts; one with NULL is none; an event without data is none, and its kind is forgotten.
        (
            b"id: 7\nevent: job\n\ndata: x\nid: 8\0\n\n",
            [Event("message", "x", "7")],
        ),
        (b"\xef\xbb\xbfdata: \xef\xbb\xbfx\n\n", [("message", "\ufeffx")]),
        (b"Data: no\ndata : no\ncolour: red\ndata: yes\n\n", [("message", "yes")]),
        (b"data: \xff\n\n", [("message", "\ufffd")]),
        (b"data: never ended\n", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(
    stream: bytes, events: Sequence[Event | tuple[str, str]]
) -> None:
    found = read(stream)
    assert [
        one if isinstance(two, Event) else (one.kind, one.data)
        for one, two in zip(found, events, strict=True)
    ] == [*events]


STREAM = (
    '\ufeffretry: 20\r\n: beat\r\n\r\nid: 1\r\nevent: job\r\ndata: {"ä":1}\r\n\r\ndata: €\rdata: 😀\n\n'
).encode()


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=12))
def test_where_a_stream_is_cut_changes_nothing(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(edges)]
    assert read(*pieces) == [Event("job", '{"ä":1}', "1"), Event("message", "€\n😀", "1")]


@pytest.mark.parametrize(
    ("line", "seconds"), [(b"retry: 1500\n", 1.5), (b"retry: soon\n", None), (b"retry:\n", None)]
)
def test_the_pause_before_a_stream_is_opened_anew_is_the_services(line: bytes, seconds: float | None) -> None:
    parser = EventParser()
    list(parser.feed(line))
    assert parser.retry_s == seconds


def test_a_long_line_in_many_pieces_is_read_once() -> None:
    piece = b"x" * 1_000
    [event] = read(b"data: ", *[piece] * 5_000, b"\n\n")
    assert len(event.data) == 5_000_000
