"""A request's body, read strictly: JSON (RFC 8259, and as narrow as I-JSON, RFC 7493), or multipart."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from api.errors import pointer, refusal
from api.forms import Part, parse_form
from api.limits import LARGEST_BATCH, largest_collection, largest_field, most_parts, most_values
from shared.errors import InvalidRequest, MalformedBody, Problem, UnsupportedMediaType
from shared.settings import Limits

#: The multipart part that holds the JSON.
REQUEST_PART = "request"

_SURROGATE = re.compile("[\ud800-\udfff]")
#: Wider integers are inexact or impossible in the languages that will read them.
_WIDEST_INTEGER = 2**63
#: Whole numbers up to here are the same as a double.
_LARGEST_EXACT = 2**53
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
    parts: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchBody:
    """Many submits as they were sent together."""

    #: A sane JSON value, or what is wrong with one; pointers begin at the submit.
    values: Sequence[Any | InvalidRequest]
    #: The files of a multipart body, by name.
    parts: Mapping[str, bytes] = field(default_factory=dict)


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


class Announced:
    """A request's body, read in pieces; it may not end before the length that the caller announced."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream
        self._announced = request.content_length
        self._came = 0
        self._kept = b""

    def peek(self, size: int) -> bytes:
        """Return the next bytes, up to `size` of them, which stay to be read; less: there are no more."""
        while len(self._kept) < size and (more := self._next(size - len(self._kept))):
            self._kept += more
        return self._kept[:size]

    def read(self, size: int) -> bytes:
        """Return some of the next bytes, at most `size` of them; none: the body has ended.

        Raises:
            MalformedBody: it is shorter than announced.
            RequestEntityTooLarge: it is longer than the limit.
        """
        if not self._kept:
            return self._next(size)
        kept, self._kept = self._kept[:size], self._kept[size:]
        return kept

    def _next(self, size: int) -> bytes:
        more: bytes = self._stream.read(size)
        self._came += len(more)
        if not more and self._announced is not None and self._came < self._announced:
            message = f"the body ends after {self._came:,} of {self._announced:,} bytes"
            raise MalformedBody(message, pointer="")
        return more


def read_submit(request: Request, limits: Limits) -> Body:
    """Return the body of a submit.

    Raises:
        MalformedBody: it is not what its media type says.
        UnsupportedMediaType: it is neither JSON nor multipart.
        InvalidRequest: something in it is larger than any accepted request needs.
        RequestEntityTooLarge: its JSON is.
    """
    raw, parts = _read(request, most_parts(limits))
    if parts is not None and len(raw) > largest_field(limits):
        raise RequestEntityTooLarge
    return Body(value=parse_json(raw, limits), parts=parts or {})


def read_batch(request: Request, limits: Limits) -> BatchBody:
    """Return the body of a batch: a fault in one submit is that submit's, whatever the others are.

    Raises:
        MalformedBody, UnsupportedMediaType, InvalidRequest, RequestEntityTooLarge: as `read_submit` does.
        InvalidRequest: it is no array, or an empty or too long one.
    """
    raw, parts = _read(request, most_parts(limits, submits=LARGEST_BATCH))
    values = _load(raw, limits)
    if not isinstance(values, list):
        _require_sane(values, limits)
        raise InvalidRequest("the body is a JSON array of submits", pointer="")
    if not 0 < len(values) <= LARGEST_BATCH:
        raise InvalidRequest(f"{len(values):,} submits; send 1 to {LARGEST_BATCH:,}", pointer="")
    return BatchBody(values=[_sane(value, limits) for value in values], parts=parts or {})


def read_json(request: Request, limits: Limits, *, widest: int) -> Any:
    """Return the JSON value of a body that holds no pictures.

    Args:
        widest: members of one collection, at most.

    Raises:
        MalformedBody, UnsupportedMediaType, InvalidRequest: as `read_submit` does.
    """
    if request.mimetype != "application/json":
        sent = request.mimetype or "none"
        raise UnsupportedMediaType(f"send application/json; the Content-Type was {sent}")
    value = _load(read_whole(request), limits)
    _require_sane(value, limits, widest=widest)
    return value


def read_parts(request: Request, limits: Limits) -> list[Part]:
    """Return the parts of a form; raises as `read_submit` does."""
    return parse_form(request, read_whole(request), most_parts(limits))


def _read(request: Request, most: int) -> tuple[bytes, dict[str, bytes] | None]:
    """Return the JSON of a body, and the files of a form by name; None: it is no form."""
    if request.mimetype == "application/json":
        return read_whole(request), None
    if request.mimetype == "multipart/form-data":
        return _split(parse_form(request, read_whole(request), most))
    sent = request.mimetype or "none"
    raise UnsupportedMediaType(f"send application/json or multipart/form-data; the Content-Type was {sent}")


def _split(form: Sequence[Part]) -> tuple[bytes, dict[str, bytes]]:
    parts: dict[str, bytes] = {}
    for part in form:
        if part.name in parts:
            raise MalformedBody(f"two parts are named {part.name[:100]!r}; send each once", pointer="")
        if part.filename is None and part.name != REQUEST_PART:
            message = f"part {part.name[:100]!r} is a plain field; send a file with a filename"
            raise MalformedBody(message, pointer="")
        parts[part.name] = part.content
    if REQUEST_PART not in parts:
        raise MalformedBody(f"the part {REQUEST_PART!r}, which holds the JSON, is missing", pointer="")
    return parts.pop(REQUEST_PART), parts


def parse_json(raw: bytes, limits: Limits) -> Any:
    """Return the JSON value, or raise with a pointer to everything in it that is not plain.

    Refused: names that appear twice, NaN and infinities, integers beyond 64 bits, numbers beyond a double,
    NUL and lone surrogates in strings, nesting beyond `json_depth`, collections beyond `largest_collection`.

    Raises:
        MalformedBody, InvalidRequest
    """
    value = _load(raw, limits)
    _require_sane(value, limits)
    return value


def _load(raw: bytes, limits: Limits) -> Any:
    """Return the JSON value, with a `_Flaw` wherever something in it is none."""
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > most_values(limits):
        raise InvalidRequest("the body holds more values than any accepted request", pointer="")
    try:
        return json.loads(
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


def _require_sane(value: Any, limits: Limits, *, widest: int | None = None) -> None:
    widest = largest_collection(limits) if widest is None else widest
    faults = list(islice(_faults(value, (), limits, widest), _FAULTS))
    if faults:
        raise refusal(faults)


def _sane(value: Any, limits: Limits) -> Any | InvalidRequest:
    try:
        _require_sane(value, limits)
    except InvalidRequest as error:
        return error
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


def _number(digits: str) -> float | int | _Flaw:
    number = float(digits)
    if not math.isfinite(number):
        return _Flaw("a number beyond the range of a double")
    # JSON has one kind of number: 40.0 is an integer where one is asked for, as JSON Schema has it.
    return int(number) if number.is_integer() and abs(number) <= _LARGEST_EXACT else number


def _faults(value: Any, path: tuple[str | int, ...], limits: Limits, widest: int) -> Iterator[Problem]:
    if isinstance(value, _Flaw):
        yield _malformed(path, value.message)
    elif isinstance(value, str):
        yield from _faults_of_text(value, path)
    elif isinstance(value, (dict, list)):
        yield from _faults_of_collection(value, path, limits, widest)


def _faults_of_text(text: str, path: tuple[str | int, ...]) -> Iterator[Problem]:
    if "\0" in text:
        yield _malformed(path, "the text holds a NUL character")
    # Whether a string is ASCII is known without looking: base64 costs nothing here.
    if not text.isascii() and _SURROGATE.search(text):
        yield _malformed(path, "the text holds half of a surrogate pair")


def _faults_of_collection(
    value: dict[str, Any] | list[Any], path: tuple[str | int, ...], limits: Limits, widest: int
) -> Iterator[Problem]:
    if len(path) >= limits.json_depth:
        yield _malformed(path, f"nested deeper than {limits.json_depth} levels")
        return
    if len(value) > widest:
        yield Problem(pointer(path), f"{len(value):,} members in one collection; the limit is {widest:,}")
        return
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, str) and (len(key) > _LONGEST_NAME or any(_faults_of_text(key, path))):
            # It cannot stand in a pointer.
            yield _malformed(path, "a name here is too long, or holds NUL or half of a surrogate pair")
            continue
        yield from _faults(child, (*path, key), limits, widest)


def _malformed(path: tuple[str | int, ...], message: str) -> Problem:
    return Problem(pointer(path), message, MalformedBody.code)
