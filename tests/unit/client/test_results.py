"""Every task's result as people read it, in full and in one line."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from client.results import result_in_words, result_view

RESULTS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "caption": (
        {"text": "an orange cat", "evidence": [{"label": "tabby", "score": 0.75}]},
        "an orange cat",
        ["an orange cat", "tabby", "75.0%"],
    ),
    "answer": (
        {"answer": "red", "confidence": 0.9, "alternatives": [{"answer": "blue", "confidence": 0.05}]},
        "red (0.90)",
        ["red", "90.0%", "blue"],
    ),
    "detect": (
        {
            "objects": [{"label": "cup", "score": 0.61, "box": [1.2, 2.0, 30.0, 40.7]}],
            "width": 64,
            "height": 64,
        },
        "cup 0.61",
        ["cup", "0.61", "1 2 30 41"],
    ),
    "nothing": ({"objects": [], "width": 64, "height": 64}, "nothing found", ["nothing found"]),
    "explain": (
        {
            "score": 0.31,
            "tokens": [{"token": "red", "weight": 0.2}, {"token": "door", "weight": -0.05}],
            "regions": [{"score": 0.8, "box": [0, 0, 10, 10]}],
            "width": 20,
            "height": 20,
        },
        "+0.31; red(+0.20) door(-0.05)",
        ["+0.310", "red", "-0.050", "80%", "0 0 10 10"],
    ),
    "video": (
        {
            "duration_s": 75.0,
            "width": 640,
            "height": 272,
            "shots": [
                {
                    "start_s": 0.0,
                    "end_s": 62.5,
                    "caption": "a street",
                    "labels": [{"label": "taxi", "score": 0.5}],
                }
            ],
            "events": [{"rule": "bicycle", "start_s": 3.0, "end_s": 5.5, "score": 0.7}],
        },
        "1 shot in 75.0 s; bicycle 3.0 to 5.5 s",
        ["1:02.5", "a street", "taxi 50%", "bicycle", "0:05.5", "0.70"],
    ),
    "generate": (
        {"seed": 7, "steps": 40, "width": 256, "height": 256},
        "a picture of 256 x 256, steps 40, seed 7",
        ['"seed": 7'],
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_says_all_that_it_holds(name: str) -> None:
    result, _, parts = RESULTS[name]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(result_view(result, [], []))

    text = capture.get()
    for part in parts:
        assert part in text


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_has_a_line(name: str) -> None:
    result, line, _ = RESULTS[name]
    assert result_in_words(result) == line


def test_what_has_no_form_is_shown_as_json() -> None:
    assert result_in_words({"odd": 1}) == '{"odd": 1}'
