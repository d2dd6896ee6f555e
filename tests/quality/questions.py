"""How the starter answers written questions about the demo's photographs.

`python -m tests.quality.questions` prints every question with its answer, and the totals. The questions and
their accepted answers (`questions.json`) were written from the photographs before any answer was seen, and
not changed since. Rules and bounds of the answerer were, in three rounds, with these answers in view: of
questions that nobody has looked at yet fewer may be right.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.schemas.answer import AnswerInput, AnswerResult
from tests.direct import DirectWork, loaded, run
from worker.models.capabilities import UNKNOWN, Model
from worker.tasks import answer

PHOTOS = Path(__file__).parents[2] / "client" / "demo" / "photos"
QUESTIONS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("questions.json").read_text(encoding="utf-8")
)
_ARTICLES = ("a ", "an ", "the ")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A question, its answer, and what that is worth."""

    question: Mapping[str, Any]
    answer: AnswerResult
    #: `right`, `unknown` or `wrong`.
    worth: str


def verdicts(models: Mapping[str, Model]) -> list[Verdict]:
    """Return the answer to each question, through the task's own pipeline."""
    return [_verdict(models, question) for question in QUESTIONS]


def figures(models: Mapping[str, Model]) -> dict[str, tuple[int, int]]:
    """Return how many are right, unknown and wrong, each with the number of all."""
    counted = Counter(verdict.worth for verdict in verdicts(models))
    return {worth: (counted[worth], len(QUESTIONS)) for worth in ("right", "unknown", "wrong")}


def _verdict(models: Mapping[str, Model], question: Mapping[str, Any]) -> Verdict:
    photo = question["photo"]
    work = DirectWork(models, {photo: (PHOTOS / photo).read_bytes()})
    fields = {"image": {"part": photo}, "question": question["question"]}
    fields |= {"candidates": question["candidates"]} if "candidates" in question else {}
    result: AnswerResult = run(answer.PIPELINE, work, AnswerInput.model_validate(fields))
    return Verdict(question, result, _worth(result.answer, question["accept"]))


def _worth(given: str, accepted: list[str]) -> str:
    if given == UNKNOWN:
        return "unknown"
    return "right" if _plain(given) in {_plain(one) for one in accepted} else "wrong"


def _plain(text: str) -> str:
    text = text.lower()
    return next((text.removeprefix(article) for article in _ARTICLES if text.startswith(article)), text)


def main() -> None:
    """Print every question, then the totals."""
    found = verdicts(loaded("starter"))
    for one in found:
        asked = f"{one.question['photo']:17} {one.question['question']}"
        print(f"{one.worth:8}{asked:62} {one.answer.answer} ({one.answer.confidence:.2f})")  # noqa: T201  # its purpose
    totals = Counter(one.worth for one in found)
    print(", ".join(f"{totals[worth]} {worth}" for worth in ("right", "unknown", "wrong")), "of", len(found))  # noqa: T201  # its purpose


if __name__ == "__main__":
    main()
