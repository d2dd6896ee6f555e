"""Server-sent events, read as the WHATWG's HTML standard has them ("9.2.6 Interpreting an event stream")."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    kind: str
    data: str
    #: The last id that the stream has said; "" is none.
    id: str


class EventParser:
    """Reads one stream, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._has_begun = False
        #: The last piece ended in CR: an LF that follows belongs to it.
        self._after_cr = False
        #: The line that has not ended yet, in pieces.
        self._line: list[str] = []
        self._kind = ""
        self._data: list[str] = []
        self._id = ""
        #: How long to wait before the stream is opened anew, as the service wants it; None: it did not say.
        self.retry_s: float | None = None

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that end in this piece. One that never ends is none."""
        text = self._decoder.decode(piece)
        if text and not self._has_begun:
            self._has_begun = True
            text = text.removeprefix("\ufeff")
        if text and self._after_cr:
            text = text.removeprefix("\n")
            self._after_cr = False
        if not text:
            return
        self._after_cr = text.endswith("\r")
        *ended, rest = _LINE_END.split(text)
        for end in ended:
            line = "".join([*self._line, end])
            self._line.clear()
            if (event := self._read(line)) is not None:
                yield event
        if rest:
            self._line.append(rest)

    def _read(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._kind = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdecimal():
                self.retry_s = int(value) / 1_000
        return None

    def _dispatch(self) -> Event | None:
        kind, data = self._kind or "message", self._data
        self._kind, self._data = "", []
        return Event(kind, "\n".join(data), self._id) if data else None
