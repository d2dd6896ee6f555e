"""The starter answers about half of what people ask of the demo's photographs, and hardly ever wrongly."""

from __future__ import annotations

from collections import Counter

from tests.direct import loaded
from tests.quality.questions import PHOTOS, QUESTIONS, figures


def test_the_questions_are_a_fair_mixture() -> None:
    kinds = Counter(question["kind"] for question in QUESTIONS)
    negative = [question for question in QUESTIONS if question["accept"] == ["no"]]
    affirmative = [question for question in QUESTIONS if question["accept"] == ["yes"]]

    assert len(QUESTIONS) >= 30
    assert {question["photo"] for question in QUESTIONS} == {path.name for path in PHOTOS.glob("*.jpg")}
    assert set(kinds) == {"what", "yes or no", "colour", "how many", "where", "candidates"}
    assert min(kinds.values()) >= 4
    assert len(negative) >= 5
    assert len(affirmative) >= 5


def test_wrong_answers_are_few_and_right_ones_about_half() -> None:
    """The issue's bar is 5 wrong of 30; these are what the starter reached, less one."""
    found = figures(loaded("starter"))

    assert found["wrong"][0] <= 3
    assert found["right"][0] >= 20
    assert sum(count for count, _ in found.values()) == len(QUESTIONS)
