"""`caption`: an image in a sentence."""

from __future__ import annotations

from shared.schemas.base import ScoredLabel
from shared.schemas.caption import CaptionInput, CaptionResult
from worker.models.capabilities import Caption, Captioner, CaptionRequest, Pixels
from worker.pipeline import Pipeline, Work


def extract(work: Work, task: CaptionInput) -> Pixels:
    """Return the picture as the model sees it; its features are the model's own affair."""
    return work.images([task.image], work.model(Captioner).view)[0]


def convert(_work: Work, task: CaptionInput, image: Pixels) -> CaptionRequest:
    return CaptionRequest(image=image, prompt=task.prompt, max_tokens=task.max_tokens)


def fuse(work: Work, _task: CaptionInput, request: CaptionRequest) -> Caption:
    return work.map(Captioner.caption, [request])[0]


def output(_work: Work, _task: CaptionInput, caption: Caption) -> CaptionResult:
    return CaptionResult(
        text=caption.text,
        evidence=[
            ScoredLabel(label=label, score=min(max(float(score), 0.0), 1.0))
            for label, score in caption.evidence
        ],
    )


PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output)
