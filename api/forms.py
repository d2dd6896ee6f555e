"""Multipart forms (RFC 7578), read from a body that is in memory already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Request
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from shared.errors import MalformedBody

_HEADERS_BYTES = 8_192
#: At once. The decoder reads the piece with a boundary in it twice: 16 kB take half the time of 64.
_CHUNK_BYTES = 2**14


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a form."""

    name: str
    #: None: a plain field.
    filename: str | None
    content: bytes


def parse_form(request: Request, body: bytes, most: int) -> list[Part]:
    """Return the parts of a form, in order.

    Args:
        body: the whole of it.
        most: parts that are read at most.

    Raises:
        MalformedBody: it is no form, or ends before its end.
        RequestEntityTooLarge: it has more parts.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary or not boundary.isascii():
        raise _malformed("its Content-Type names no boundary")
    delimiter = b"--" + boundary.encode()
    # The decoder takes any line break before a delimiter; RFC 2046 knows one, and all else is content.
    if body.count(b"\r\n" + delimiter) != sum(body.count(end + delimiter) for end in (b"\n", b"\r")):
        raise _malformed("the line before a boundary does not end with CR LF")
    parts: list[Part] = []
    contents: list[bytes] = []
    try:
        for event in _events(MultipartDecoder(boundary.encode(), max_parts=most), body):
            match event:
                case Field() | File():
                    head, contents = event, []
                case Data():
                    contents.append(event.data)
                    if not event.more_data:
                        parts.append(_part(head, b"".join(contents)))
    except ValueError as error:
        raise _malformed(str(error)) from error
    return parts


def _events(decoder: MultipartDecoder, body: bytes) -> Iterator[Event]:
    for start in range(0, len(body), _CHUNK_BYTES):
        decoder.receive_data(body[start : start + _CHUNK_BYTES])
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            yield event
    decoder.receive_data(None)
    while not isinstance(event := decoder.next_event(), Epilogue):
        yield event


def _part(head: Field | File, content: bytes) -> Part:
    if head.name is None:
        raise _malformed("a part has no name")
    if any(name.startswith("--") for name, _ in head.headers):
        raise _malformed("a part has no headers")
    if sum(len(name) + len(value) for name, value in head.headers) > _HEADERS_BYTES:
        raise _malformed("a part's headers are too long")
    return Part(name=head.name, filename=getattr(head, "filename", None), content=content)


def _malformed(what: str) -> MalformedBody:
    return MalformedBody(f"the form cannot be read: {what}", pointer="")
