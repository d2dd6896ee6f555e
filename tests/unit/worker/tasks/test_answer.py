"""`answer` answers a question about an image, or says that it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shared.schemas.answer import AnswerInput, AnswerResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.capabilities import Question, Scored
from worker.models.fake import COLOURS
from worker.tasks.answer import PIPELINE


@pytest.fixture
def work() -> DirectWork:
    halves = plain(COLOURS["red"])
    halves[:, 8:] = COLOURS["blue"]
    return DirectWork(loaded("fake"), {"halves": png(halves)})


def answer(work: DirectWork, question: str = "Which colour is it?", **fields: Any) -> AnswerResult:
    task_input = AnswerInput.model_validate({"image": {"part": "halves"}, "question": question} | fields)
    result: AnswerResult = run(PIPELINE, work, task_input)
    return result


def test_the_surest_answer_stands_apart_from_the_next_best(work: DirectWork) -> None:
    result = answer(work)

    assert result.answer == "blue"
    assert result.confidence == pytest.approx(0.75, abs=0.05)
    assert [other.answer for other in result.alternatives] == ["red"]
    assert work.calls == ["Answerer.answer"]


def test_candidates_are_what_is_chosen_from(work: DirectWork) -> None:
    result = answer(work, candidates=["green", "red"])

    assert result.answer == "red"
    assert [other.answer for other in result.alternatives] == ["green"]


def test_unknown_is_an_answer_too(work: DirectWork) -> None:
    result = answer(work, "How many are there?")

    assert result.answer == "unknown"
    assert result.alternatives == []


def test_ten_alternatives_at_most_and_no_confidence_past_one(
    work: DirectWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(questions: Sequence[Question]) -> list[Sequence[Scored]]:
        return [[(str(place), 1.0000001 - place / 10) for place in range(30)] for _ in questions]

    monkeypatch.setattr(loaded("fake")["Answerer"], "answer", too_many, raising=False)

    result = answer(work)

    assert (result.answer, result.confidence) == ("0", 1.0)
    assert [other.answer for other in result.alternatives] == [str(place) for place in range(1, 11)]
    assert all(0.0 <= other.confidence <= 1.0 for other in result.alternatives)
