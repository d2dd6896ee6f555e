"""What is submitted, and what must come of it: every result is known before the first job is sent."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from shared.jobs import Json
from shared.schemas import catalogue
from tests.direct import DirectWork, loaded, run
from worker.models.fake import COLOURS
from worker.tasks import pipelines

_NAMES = sorted(COLOURS)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One thing to ask for."""

    task: str
    input: Json
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    #: Options of the submit, `timeout_s` and the like.
    options: Json = field(default_factory=dict)
    #: Codes that it may fail with; none: it succeeds.
    fails: frozenset[str] = frozenset()
    #: It may expire before it begins.
    may_expire: bool = False
    #: Seconds after which its user cancels it.
    canceled_after_s: float | None = None

    @property
    def body(self) -> Json:
        """Return the submit, its pictures inside."""
        data = {name: base64.b64encode(content).decode() for name, content in self.pictures.items()}
        return {"task": self.task, "input": _inline(self.input, data), **self.options}

    @property
    def expected(self) -> tuple[Json, Mapping[str, str]]:
        """Return the result, and the SHA-256 of each artifact by its name, computed here without a worker."""
        key = json.dumps([self.task, self.input, {name: _sha(one) for name, one in self.pictures.items()}])
        if key not in _EXPECTED:
            work = DirectWork(loaded("fake"), self.pictures)
            given = catalogue()[self.task].input.model_validate(self.input)
            result = run(pipelines()[self.task], work, given)
            made = {name: _sha(content) for name, (_, content) in work.artifacts.items()}
            _EXPECTED[key] = result.model_dump(mode="json"), made
        return _EXPECTED[key]


_EXPECTED: dict[str, tuple[Json, Mapping[str, str]]] = {}


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _inline(value: Any, data: Mapping[str, str]) -> Any:
    """Return an input with each `part` in place as `data`."""
    if isinstance(value, dict):
        if set(value) == {"part"}:
            return {"data": data[value["part"]]}
        return {key: _inline(child, data) for key, child in value.items()}
    if isinstance(value, list):
        return [_inline(child, data) for child in value]
    return value


def _texts(count: int) -> list[Piece]:
    return [
        Piece(
            task="embed",
            input={"texts": [f"{_NAMES[number % len(_NAMES)]} number {number}"], "encoding": "base64"},
        )
        for number in range(count)
    ]


def _pictures() -> list[Piece]:
    return [
        Piece(
            task="embed", input={"images": [{"part": "a"}], "encoding": "base64"}, pictures={"a": _png(name)}
        )
        for name in _NAMES
    ]


def _png(name: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (24, 16), COLOURS[name]).save(content, "PNG")
    return content.getvalue()


def _sleepers(seconds: Sequence[float]) -> list[Piece]:
    return [Piece(task="embed", input={"texts": [f"fake:sleep={one} red"]}) for one in seconds]


def _painted() -> list[Piece]:
    return [
        Piece(task="generate", input={"prompt": f"a {name} door", "steps": 3, "seed": number})
        for number, name in enumerate(_NAMES)
    ]


def _matches() -> list[Piece]:
    return [
        Piece(
            task="match",
            input={"images": [{"part": "a"}, {"part": "b"}], "texts": [one, other]},
            pictures={"a": _png(one), "b": _png(other)},
        )
        for one, other in itertools.pairwise(_NAMES)
    ]


QUICK = (*_texts(60), *_pictures(), *_matches())
SLOW = tuple(_sleepers((0.1, 0.2, 0.4, 0.8)))
PAINTED = tuple(_painted())
BROKEN = (
    Piece(task="embed", input={"texts": ["fake:nan red"]}, fails=frozenset({"model_failed"})),
    Piece(
        task="embed",
        input={"texts": ["fake:sleep=1 blue"]},
        options={"timeout_s": 0.4},
        fails=frozenset({"timeout"}),
    ),
)
HASTY = (
    Piece(
        task="embed",
        input={"texts": ["fake:sleep=0.05 green"]},
        options={"start_within_s": 0.4},
        may_expire=True,
    ),
)


def draw(random_: random.Random) -> Piece:
    """Return what the next job is, in the shares of a busy and not quite careful user."""
    kind = random_.random()
    if kind < 0.62:
        return random_.choice(QUICK)
    if kind < 0.86:
        return random_.choice(SLOW)
    if kind < 0.92:
        return random_.choice(PAINTED)
    if kind < 0.95:
        return random_.choice(BROKEN)
    if kind < 0.97:
        return random_.choice(HASTY)
    piece = random_.choice(SLOW)
    return Piece(task=piece.task, input=piece.input, canceled_after_s=random_.uniform(0.0, 0.5))
