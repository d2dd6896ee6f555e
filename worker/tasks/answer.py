"""`answer`: a question about an image."""

from __future__ import annotations

from collections.abc import Sequence

from shared.schemas.answer import Alternative, AnswerInput, AnswerResult
from worker.models.capabilities import Answerer, Pixels, Question, Scored
from worker.pipeline import Pipeline, Work

#: The next best answers that a result holds.
_MOST_ALTERNATIVES = 10


def extract(work: Work, task: AnswerInput) -> Pixels:
    """Return the picture as the model sees it; its features are the model's own affair."""
    return work.images([task.image], work.model(Answerer).view)[0]


def convert(_work: Work, task: AnswerInput, image: Pixels) -> Question:
    return Question(image=image, text=task.question, candidates=tuple(task.candidates or ()))


def fuse(work: Work, _task: AnswerInput, question: Question) -> Sequence[Scored]:
    return work.map(Answerer.answer, [question])[0]


def output(_work: Work, _task: AnswerInput, answers: Sequence[Scored]) -> AnswerResult:
    (answer, confidence), *others = answers
    return AnswerResult(
        answer=answer,
        confidence=_share(confidence),
        alternatives=[
            Alternative(answer=other, confidence=_share(score))
            for other, score in others[:_MOST_ALTERNATIVES]
        ],
    )


def _share(score: float) -> float:
    return min(max(float(score), 0.0), 1.0)


PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output)
