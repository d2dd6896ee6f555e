"""When two jobs have the same answer, and when they have not."""

from __future__ import annotations

import string

import pytest

from shared.caching import result_key
from shared.jobs import Json

MODELS: dict[str, Json] = {
    "ImageEncoder": {"id": "efficientnet", "revision": "1", "grade": "starter"},
    "TextEncoder": {"id": "minilm", "revision": "2", "grade": "starter"},
    "Captioner": {"id": "words", "revision": "3", "grade": "starter"},
}
NEEDS = ["ImageEncoder", "TextEncoder"]
INPUT: Json = {"image": {"file": "a" * 64}, "labels": ["cat", "dog"], "top_k": 3}
KEY = result_key("classify", INPUT, MODELS, NEEDS)


def test_a_key_is_a_sha256_in_hex() -> None:
    assert len(KEY) == 64
    assert set(KEY) <= set(string.hexdigits.lower())


def test_equal_work_has_the_same_key_however_it_is_spelt() -> None:
    turned = dict(reversed(INPUT.items()))
    models = dict(reversed(MODELS.items()))
    assert result_key("classify", turned, models, NEEDS[::-1]) == KEY


def test_what_a_task_does_not_need_is_no_part_of_its_key() -> None:
    models = MODELS | {"Captioner": {"id": "other", "revision": "9"}}
    assert result_key("classify", INPUT, models, NEEDS) == KEY
    regraded = MODELS | {"TextEncoder": {**MODELS["TextEncoder"], "grade": "full", "device": "cuda:0"}}
    assert result_key("classify", INPUT, regraded, NEEDS) == KEY


@pytest.mark.parametrize(
    ("task", "task_input", "models"),
    [
        ("embed", INPUT, MODELS),
        ("classify", INPUT | {"image": {"file": "b" * 64}}, MODELS),
        ("classify", INPUT | {"labels": ["dog", "cat"]}, MODELS),
        ("classify", INPUT | {"top_k": "3"}, MODELS),
        ("classify", INPUT, MODELS | {"TextEncoder": {"id": "minilm", "revision": "3"}}),
        ("classify", INPUT, MODELS | {"TextEncoder": {"id": "bert", "revision": "2"}}),
        ("classify", INPUT, {name: MODELS[name] for name in ("ImageEncoder", "Captioner")}),
    ],
    ids=["task", "picture", "order of labels", "type", "revision", "model", "missing model"],
)
def test_other_work_has_another_key(task: str, task_input: Json, models: dict[str, Json]) -> None:
    assert result_key(task, task_input, models, NEEDS) != KEY
