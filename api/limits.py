"""How much of a request is read at all."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from gunicorn.http.errors import ParseException

from shared.settings import Limits

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: Jobs in one page of a listing; a larger wish is cut to the largest page.
DEFAULT_PAGE = 50
LARGEST_PAGE = 200
#: Jobs that are submitted, or asked for, in one request.
LARGEST_BATCH = 1_000
#: For all of them to end.
LONGEST_WAIT_S = 60

#: For so long, in seconds, the rest of a refused body is taken and dropped; and so many bytes at a time.
_PATIENCE_S = 5.0
_CHUNK_BYTES = 2**16

#: Parts of a multipart body besides one per image: the request itself, and a few to name in an error.
_SPARE_PARTS = 16
#: Bytes of a `\\uXXXX` escape, the longest way to write a character of JSON.
_ESCAPED_CHAR_BYTES = 6


def cap_bodies(app: Flask, limits: Limits) -> None:
    """Make Flask stop reading where no accepted request goes on."""
    app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes


def take_what_is_left(app: Flask) -> None:
    """Make a refusal reach callers who read no answer before their whole body is sent.

    A connection that is closed with bytes in it is reset, and the answer may be lost with it. So the answer
    goes out, and then what the caller still sends is dropped, for a while.
    """
    app.after_request(_drain_after)


def _drain_after(response: Response) -> Response:
    # Only a server that says so knows where a body ends: with another, reading on might never return.
    if response.status_code >= 400 and request.environ.get("wsgi.input_terminated"):
        response.call_on_close(partial(_drain, request.environ))
    return response


def _drain(environ: WSGIEnvironment) -> None:
    source, connection = environ["wsgi.input"], environ.get("gunicorn.socket")
    deadline = time.monotonic() + _PATIENCE_S
    if connection is not None:
        # A caller that sends nothing more must not keep the thread.
        before = connection.gettimeout()
        connection.settimeout(_PATIENCE_S)
    # The caller may also hang up, or send what is no body.
    with suppress(OSError, ValueError, ParseException):
        while time.monotonic() < deadline and source.read(_CHUNK_BYTES):
            pass
    if connection is not None:
        with suppress(OSError):
            connection.settimeout(before)


def most_parts(limits: Limits, *, submits: int = 1) -> int:
    """Return how many parts an accepted form can have."""
    return limits.images * submits + _SPARE_PARTS


def largest_field(limits: Limits) -> int:
    """Return how many bytes of JSON a form of one submit can hold: every text at its longest."""
    return limits.texts * limits.text_chars * _ESCAPED_CHAR_BYTES + 2**20


def largest_collection(limits: Limits) -> int:
    """Return how many members one JSON list or object of an accepted submit can have."""
    return max(limits.images, limits.texts)


def most_values(limits: Limits) -> int:
    """Return how many commas and brackets an accepted body can hold: each character of each text may be one.

    Counting them takes milliseconds; building ten million empty lists takes a gigabyte. A batch may hold as
    many as one submit: over a thousand for each of a thousand jobs.
    """
    return limits.texts * limits.text_chars + 100_000
