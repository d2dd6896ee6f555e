"""A request's body, read strictly: JSON (RFC 8259, and as narrow as I-JSON, RFC 7493), or multipart."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO, cast

from flask import Request

from api.errors import pointer, refusal
from api.limits import largest_collection, most_values
from shared.errors import InvalidRequest, MalformedBody, Problem, UnsupportedMediaType
from shared.settings import Limits

#: The multipart part that holds the JSON.
REQUEST_PART = "request"

_SURROGATE = re.compile("[\ud800-\udfff]")
#: Wider integers are inexact or impossible in the languages that will read them.
_WIDEST_INTEGER = 2**63
_LONGEST_INTEGER = len(str(_WIDEST_INTEGER)) + 1
_FAULTS = 100
_LONGEST_NAME = 200
_CHUNK_BYTES = 2**18


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A submit as it was sent."""

    #: The JSON value; strings, numbers and nesting are already known to be sane.
    value: Any
    #: The files of a multipart body, by name.
    parts: Mapping[str, BinaryIO] = field(default_factory=dict)


class MemoryRequest(Request):
    """Keeps the parts of a form in memory, which the limit of a body allows.

    Werkzeug would write large ones to temporary files, and leaves those open when it gives up on a body.
    """

    def _get_file_stream(self, *_: Any, **__: Any) -> BinaryIO:
        return BytesIO()


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Stands in a parsed body where no value could."""

    message: str


def read_whole(request: Request) -> bytes:
    """Return the body of a request, all of it.

    Werkzeug's `get_data` says nothing when it cuts a body of unknown length at the limit, or when the caller
    hangs up half-way.

    Raises:
        MalformedBody: it is shorter than announced.
        RequestEntityTooLarge: it is longer than the limit.
    """
    announced = request.content_length
    if announced is None:
        return b"".join(iter(lambda: request.stream.read(_CHUNK_BYTES), b""))
    content = request.get_data(cache=False)
    if len(content) < announced:
        raise MalformedBody(f"the body ends after {len(content):,} of {announced:,} bytes", pointer="")
    return content


def read_submit(request: Request, limits: Limits) -> Body:
    """Return the body of a submit.

    Raises:
        MalformedBody: it is not what its media type says.
        UnsupportedMediaType: it is neither JSON nor multipart.
        InvalidRequest: something in it is larger than any accepted request needs.
    """
    if request.mimetype == "application/json":
        return Body(value=parse_json(read_whole(request), limits))
    if request.mimetype == "multipart/form-data":
        return _read_multipart(request, limits)
    sent = request.mimetype or "none"
    raise UnsupportedMediaType(f"send application/json or multipart/form-data; the Content-Type was {sent}")


def _read_multipart(request: Request, limits: Limits) -> Body:
    files = dict(request.files.items())
    repeated = [name for name in request.files if len(request.files.getlist(name)) > 1]
    if repeated:
        raise MalformedBody(f"two parts are named {repeated[0]!r}; each needs a name of its own", pointer="")
    stray = sorted(set(request.form) - {REQUEST_PART})
    if stray:
        raise MalformedBody(f"part {stray[0]!r} is a plain field; send a file with a filename", pointer="")
    if REQUEST_PART in files:
        raw = files.pop(REQUEST_PART).read()
    elif REQUEST_PART in request.form:
        raw = request.form[REQUEST_PART].encode("utf-8", "surrogatepass")
    else:
        raise MalformedBody(f"the part {REQUEST_PART!r}, which holds the JSON, is missing", pointer="")
    parts = {name: cast(BinaryIO, part.stream) for name, part in files.items()}
    return Body(value=parse_json(raw, limits), parts=parts)


def parse_json(raw: bytes, limits: Limits) -> Any:
    """Return the JSON value, or raise with a pointer to everything in it that is not plain.

    Refused: names that appear twice, NaN and infinities, integers beyond 64 bits, numbers beyond a double,
    NUL and lone surrogates in strings, nesting beyond `json_depth`, collections beyond `largest_collection`.

    Raises:
        MalformedBody, InvalidRequest
    """
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > most_values(limits):
        raise InvalidRequest("the body holds more values than any accepted request", pointer="")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=lambda name: _Flaw(f"{name} is not a JSON number"),
            parse_int=_integer,
            parse_float=_number,
        )
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8 (byte {error.start})", pointer="") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedBody(f"the body is not JSON: {error.msg} ({where})", pointer="") from error
    except RecursionError as error:
        message = f"the body is nested deeper than {limits.json_depth} levels"
        raise MalformedBody(message, pointer="") from error
    faults = list(islice(_faults(value, (), limits), _FAULTS))
    if faults:
        raise refusal(faults)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Flaw:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return _Flaw(f"the name {name[:100]!r} appears twice in one object")
        seen.add(name)
    raise AssertionError("unreachable")


def _integer(digits: str) -> int | _Flaw:
    if len(digits) <= _LONGEST_INTEGER and -_WIDEST_INTEGER <= int(digits) < _WIDEST_INTEGER:
        return int(digits)
    return _Flaw("an integer beyond 64 bits")


def _number(digits: str) -> float | _Flaw:
    number = float(digits)
    return number if math.isfinite(number) else _Flaw("a number beyond the range of a double")


def _faults(value: Any, path: tuple[str | int, ...], limits: Limits) -> Iterator[Problem]:
    if isinstance(value, _Flaw):
        yield _malformed(path, value.message)
    elif isinstance(value, str):
        yield from _faults_of_text(value, path)
    elif isinstance(value, (dict, list)):
        yield from _faults_of_collection(value, path, limits)


def _faults_of_text(text: str, path: tuple[str | int, ...]) -> Iterator[Problem]:
    if "\0" in text:
        yield _malformed(path, "the text holds a NUL character")
    # Whether a string is ASCII is known without looking: base64 costs nothing here.
    if not text.isascii() and _SURROGATE.search(text):
        yield _malformed(path, "the text holds half of a surrogate pair")


def _faults_of_collection(
    value: dict[str, Any] | list[Any], path: tuple[str | int, ...], limits: Limits
) -> Iterator[Problem]:
    if len(path) >= limits.json_depth:
        yield _malformed(path, f"nested deeper than {limits.json_depth} levels")
        return
    most = largest_collection(limits)
    if len(value) > most:
        yield Problem(pointer(path), f"{len(value):,} members in one collection; the limit is {most}")
        return
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, str) and (len(key) > _LONGEST_NAME or any(_faults_of_text(key, path))):
            # It cannot stand in a pointer.
            yield _malformed(path, "a name here is too long, or holds NUL or half of a surrogate pair")
            continue
        yield from _faults(child, (*path, key), limits)


def _malformed(path: tuple[str | int, ...], message: str) -> Problem:
    return Problem(pointer(path), message, MalformedBody.code)
