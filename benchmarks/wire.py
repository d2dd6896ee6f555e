"""HTTP at next to no cost: many conversations in one thread, so that what is measured is the service.

A conversation is a generator. It yields a whole request and is sent the answer; it yields a number of seconds
and is left alone for so long. Each has a connection of its own, as 64 users would.
"""

from __future__ import annotations

import heapq
import json
import re
import selectors
import socket
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_CHUNK_BYTES = 2**18
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STALLED_S = 120.0


class Answer(NamedTuple):
    """What the service said."""

    status: int
    body: bytes

    def json(self, *accepted: int) -> Any:
        """Return the body's value.

        Raises:
            RuntimeError: the status is none of those accepted (none given: 200 and 202).
        """
        if self.status not in (accepted or (200, 202)):
            raise RuntimeError(f"the service answered {self.status}: {self.body[:500]!r}")
        return json.loads(self.body)


#: Yields requests and pauses (seconds), is sent answers (None after a pause).
Conversation = Generator[bytes | float, Answer | None, None]


@dataclass(eq=False, slots=True)
class _Lane:
    connection: socket.socket
    conversation: Conversation
    outgoing: memoryview = field(default_factory=lambda: memoryview(b""))
    incoming: bytearray = field(default_factory=bytearray)
    #: Of the head and the body together; 0 while the head is incomplete.
    expected: int = 0
    body_at: int = 0
    interest: int = 0


class Wire:
    """Speaks to one service. Not thread-safe."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._host = parts.netloc

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Return a whole request, to be yielded."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def post_json(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> bytes:
        """Return a POST of a JSON value."""
        body = json.dumps(value, separators=(",", ":")).encode()
        return self.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def ask(self, request: bytes) -> Answer:
        """Return the answer to one request."""
        heard: list[Answer] = []

        def once() -> Conversation:
            heard.append((yield request) or Answer(0, b""))

        self.talk([once()])
        return heard[0]

    def talk(self, conversations: Iterable[Conversation]) -> None:
        """Hold all conversations at once, until each has ended."""
        _Exchange(self._address).run(conversations)


class _Exchange:
    """The loop behind `talk`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._asleep: list[tuple[float, int, _Lane]] = []
        self._open = 0

    def run(self, conversations: Iterable[Conversation]) -> None:
        lanes = [_Lane(socket.create_connection(self._address), one) for one in conversations]
        try:
            for lane in lanes:
                lane.connection.setblocking(False)
                lane.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += 1
                self._go_on(lane, None)
            while self._open:
                self._turn()
        finally:
            for lane in lanes:
                lane.connection.close()
            self._selector.close()

    def _turn(self) -> None:
        due = self._asleep[0][0] - time.monotonic() if self._asleep else _STALLED_S
        events = self._selector.select(max(0.0, due))
        if not events and not self._asleep:
            raise RuntimeError(f"the service has said nothing for {_STALLED_S:g} s")
        for key, happened in events:
            if happened & selectors.EVENT_WRITE:
                self._write(key.data)
            else:
                self._read(key.data)
        while self._asleep and self._asleep[0][0] <= time.monotonic():
            self._go_on(heapq.heappop(self._asleep)[2], None)

    def _go_on(self, lane: _Lane, answer: Answer | None) -> None:
        """Let a conversation say what comes next, and begin with it."""
        try:
            wanted = lane.conversation.send(answer)
        except StopIteration:
            self._watch(lane, 0)
            self._open -= 1
            return
        if isinstance(wanted, bytes):
            lane.outgoing = memoryview(wanted)
            self._write(lane)
        else:
            self._watch(lane, 0)
            heapq.heappush(self._asleep, (time.monotonic() + wanted, id(lane), lane))

    def _write(self, lane: _Lane) -> None:
        with suppress(BlockingIOError):
            lane.outgoing = lane.outgoing[lane.connection.send(lane.outgoing) :]
        self._watch(lane, selectors.EVENT_WRITE if lane.outgoing else selectors.EVENT_READ)

    def _read(self, lane: _Lane) -> None:
        chunk = lane.connection.recv(_CHUNK_BYTES)
        if not chunk:
            raise RuntimeError("the service closed a connection")
        lane.incoming += chunk
        if not lane.expected:
            _read_head(lane)
        if lane.expected and len(lane.incoming) >= lane.expected:
            answer = Answer(int(lane.incoming[9:12]), bytes(lane.incoming[lane.body_at : lane.expected]))
            lane.incoming.clear()
            lane.expected = 0
            self._go_on(lane, answer)

    def _watch(self, lane: _Lane, interest: int) -> None:
        if interest == lane.interest:
            return
        if not interest:
            self._selector.unregister(lane.connection)
        elif not lane.interest:
            self._selector.register(lane.connection, interest, lane)
        else:
            self._selector.modify(lane.connection, interest, lane)
        lane.interest = interest


def _read_head(lane: _Lane) -> None:
    """Learn how long the answer is, once its head is there."""
    end = lane.incoming.find(b"\r\n\r\n")
    if end < 0:
        return
    length = _LENGTH.search(lane.incoming, 0, end)
    if length is None:
        raise RuntimeError(f"the service did not say how long its answer is: {bytes(lane.incoming[:end])!r}")
    lane.body_at = end + 4
    lane.expected = lane.body_at + int(length[1])
