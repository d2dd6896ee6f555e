"""Multipart forms (RFC 7578), read from a body that is in memory already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header

from shared.errors import MalformedBody

_HEADERS_BYTES = 8_192
_BLANKS = b" \t"
_REST_OF_LINE = re.compile(rb"[ \t]*\r\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a form."""

    name: str
    #: None: a plain field.
    filename: str | None
    content: bytes


def parse_form(request: Request, body: bytes, most: int) -> list[Part]:
    """Return the parts of a form, in order.

    Searching for the boundary is all that the bytes of a part cost; werkzeug's parser, which is made for
    streams, takes ten times as long for a picture that is in memory anyway.

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
    parts: list[Part] = []
    for raw in _pieces(body, b"--" + boundary.encode()):
        if len(parts) >= most:
            raise RequestEntityTooLarge
        parts.append(_part(body, *raw))
    return parts


def _pieces(body: bytes, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends, headers included."""
    start: int | None = None
    at = 0 if body.startswith(delimiter) else _next(body, delimiter, 0)
    while True:
        end, after = at - len(b"\r\n"), at + len(delimiter)
        is_last = body.startswith(b"--", after)
        line = after if is_last else _end_of_line(body, after)
        if line is None:
            # It only begins like a boundary.
            at = _next(body, delimiter, after)
            continue
        if start is not None:
            yield start, end
        if is_last:
            return
        # The line break after this delimiter may be the one before the next.
        start, at = line, _next(body, delimiter, line - len(b"\r\n"))


def _next(body: bytes, delimiter: bytes, start: int) -> int:
    found = body.find(b"\r\n" + delimiter, start)
    if found < 0:
        raise _malformed("it ends before its closing boundary")
    return found + len(b"\r\n")


def _end_of_line(body: bytes, at: int) -> int | None:
    """Return where the next line begins if nothing but blanks is left of this one."""
    rest = _REST_OF_LINE.match(body, at)
    return None if rest is None else rest.end()


def _part(body: bytes, start: int, end: int) -> Part:
    # A part may end with its headers: the line break after them is then the delimiter's (RFC 2046, 5.1.1).
    headers_end = body.find(b"\r\n\r\n", start, min(end + len(b"\r\n"), start + _HEADERS_BYTES))
    if headers_end < 0:
        raise _malformed("a part has no end of its headers")
    disposition = _disposition(body[start:headers_end])
    _, options = parse_options_header(disposition)
    if "name" not in options:
        raise _malformed("a part has no name")
    content = body[headers_end + len(b"\r\n\r\n") : end]
    return Part(name=options["name"], filename=options.get("filename"), content=content)


def _disposition(headers: bytes) -> str:
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip(_BLANKS).lower() == b"content-disposition":
            try:
                return value.decode().strip()
            except UnicodeDecodeError as error:
                raise _malformed("a part's name is not UTF-8") from error
    raise _malformed("a part has no Content-Disposition")


def _malformed(what: str) -> MalformedBody:
    return MalformedBody(f"the form cannot be read: {what}", pointer="")
