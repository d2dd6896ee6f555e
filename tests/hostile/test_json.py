"""JSON of every kind against the running service: understood, or refused as what it is, never a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from tests.hostile.json_texts import BROKEN, SOUND, UNSOUND

#: For any of them, alone, on two busy cores.
_ANSWERED_WITHIN_S = 5.0
_JSON = {"Content-Type": "application/json"}
_MALFORMED = (400, "malformed_body")
_INVALID = (422, "invalid_request")


def _cases(texts: Mapping[str, bytes]) -> list[object]:
    return [pytest.param(text, id=name) for name, text in texts.items()]


def _answers(http: httpx.Client, text: bytes) -> Iterator[tuple[int, str]]:
    """Yield (status, code) for each way in which a body of JSON can come."""
    for path in ("/v1/jobs", "/v1/jobs:get"):
        yield _refusal(_post(http, path, content=text, headers=_JSON))
    yield _refusal(_post(http, "/v1/jobs", files={"request": (None, text)}))


def _batched(http: httpx.Client, text: bytes) -> Iterator[tuple[int, str]]:
    """Yield (status, code) for each member of a batch, or for the batch that cannot be read."""
    answer = _post(http, "/v1/jobs:batch", content=text, headers=_JSON)
    if answer.status_code != 207:
        yield _refusal(answer)
        return
    for outcome in answer.json()["jobs"]:
        yield outcome["status"], outcome["problem"]["code"]


def _post(http: httpx.Client, path: str, **sent: Any) -> httpx.Response:
    began = time.monotonic()
    answer = http.post(path, **sent)
    assert time.monotonic() - began < _ANSWERED_WITHIN_S
    return answer


def _refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def test_there_are_enough_of_each_kind() -> None:
    assert min(len(SOUND), len(UNSOUND), len(BROKEN)) >= 30
    assert len({*SOUND, *UNSOUND, *BROKEN}) == len(SOUND) + len(UNSOUND) + len(BROKEN) >= 150


@pytest.mark.parametrize("text", _cases(BROKEN))
def test_what_is_no_json_is_malformed(http: httpx.Client, text: bytes) -> None:
    assert {*_answers(http, text), *_batched(http, text)} == {_MALFORMED}


@pytest.mark.parametrize("text", _cases(UNSOUND))
def test_what_two_readers_may_read_differently_is_refused(http: httpx.Client, text: bytes) -> None:
    assert set(_answers(http, text)) == {_MALFORMED}
    # Its members are looked at one by one, and one of them may be sound, only no submit.
    assert set(_batched(http, text)) <= {_MALFORMED, _INVALID}


@pytest.mark.parametrize("text", _cases(SOUND))
def test_what_is_json_is_understood_and_refused_for_what_it_says(http: httpx.Client, text: bytes) -> None:
    assert {*_answers(http, text), *_batched(http, text)} == {_INVALID}


def test_the_service_serves_on(http: httpx.Client) -> None:
    job = {"task": "embed", "input": {"texts": ["a cat"]}}

    answer = http.post("/v1/jobs", json=job, headers={"Prefer": "wait=20"})

    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
