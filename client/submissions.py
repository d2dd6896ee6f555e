"""What a caller wants done, and the requests that carry it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from client.errors import RequestRefused
from client.flows import Flow, work
from client.models import File, Options
from client.multipart import Part, encode
from client.pictures import Parts, Picture

#: One request carries at most so many submissions and bytes. The service takes 1,000 and 32 MB; the rest is
#: room for the heads of the parts, and for a proxy that counts differently.
MOST_ITEMS = 1_000
MOST_BYTES = 24 * 2**20

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Submission:
    """One job to be; its fields are those of `Client.submit`."""

    #: Its name in the catalogue.
    task: str
    #: The task's input; a `Path`, `bytes` or `File` anywhere in it is sent along as a file.
    input: Mapping[str, Any] | None = None
    _: KW_ONLY
    #: Put where the task's schema wants pictures.
    images: Sequence[Picture] = ()
    #: Put where the task's schema wants texts.
    texts: Sequence[str] = ()
    #: Put where the task's schema wants films.
    videos: Sequence[Picture] = ()
    options: Options | None = None
    #: More fields of the input.
    fields: Mapping[str, Any] = field(default_factory=dict)

    def body(self, placed: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is sent of it, files still as they are.

        Args:
            placed: the fields that its pictures, texts and films fill.
        """
        body = {"task": self.task, "input": {**(self.input or {}), **self.fields, **placed}}
        if self.options is not None:
            body |= self.options.model_dump(mode="json", exclude_none=True)
        return body


class Envelope:
    """The submissions of one request, with their files."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._parts = Parts()
        self._size = 0

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, body: Mapping[str, Any]) -> bool:
        """Take a submission in and return True; return False when it has no room. The first always has.

        Raises:
            RequestRefused: a file of it cannot be read, or its input is no JSON.
        """
        if len(self) >= MOST_ITEMS:
            return False
        before = len(self._parts)
        fits = False
        try:
            text = self._written(body)
            size = self._size + len(text) + 1
            fits = not self._texts or size + self._parts.size <= MOST_BYTES
        finally:
            if not fits:
                self._parts.cut(before)
        if fits:
            self._texts.append(text)
            self._size = size
        return fits

    def put(self, body: Mapping[str, Any]) -> Flow[bool]:
        """Take a submission in as `add` does; where that means to read files, without holding up others."""
        if _has_files(body):
            return (yield from work(partial(self.add, body)))
        return self.add(body)

    def seal(self, *, alone: bool = False) -> Flow[tuple[bytes, str]]:
        """Return what `sealed` does, without holding up others where there is much to copy."""
        if len(self._parts):
            return (yield from work(partial(self.sealed, alone=alone)))
        return self.sealed(alone=alone)

    def sealed(self, *, alone: bool = False) -> tuple[bytes, str]:
        """Return the request's body and its `Content-Type`.

        Args:
            alone: the one submission itself, in place of a list of it.
        """
        text = self._texts[0] if alone else b"[" + b",".join(self._texts) + b"]"
        if not len(self._parts):
            return text, JSON
        return encode([Part("request", None, text, JSON), *self._parts])

    def _written(self, body: Mapping[str, Any]) -> bytes:
        try:
            return json.dumps(body, default=self._refer, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise RequestRefused(f"the input is no JSON: {error}", code="usage") from error

    def _refer(self, value: object) -> object:
        """Return what stands in JSON for a value that is none."""
        if isinstance(value, Path | bytes | File):
            return self._parts.refer(value)
        if isinstance(value, Mapping):
            return dict(value)
        raise TypeError(f"{type(value).__name__} {str(value)[:50]!r}")


def _has_files(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_files, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_files, value))
    return isinstance(value, Path)
