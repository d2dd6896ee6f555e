"""`explain`: which part of an image a text speaks of, and which words matter."""

from __future__ import annotations

from dataclasses import dataclass

from shared.schemas.explain import ExplainInput, ExplainResult, Region, TokenWeight
from worker.media import Picture
from worker.media.encode import jpeg, png
from worker.models.capabilities import Explainer, Explanation, ExplanationRequest
from worker.pipeline import Pipeline, Work
from worker.stages.drawing import CANVAS, heat_map, overlay
from worker.stages.regions import hot_regions, in_pixels


@dataclass(frozen=True, slots=True)
class Seen:
    """The picture, as the model wants it and as people do."""

    request: ExplanationRequest
    shown: Picture


@dataclass(frozen=True, slots=True)
class Explained:
    """The model's explanation of the picture shown."""

    explanation: Explanation
    shown: Picture


def extract(work: Work, task: ExplainInput) -> Seen:
    (pixels,) = work.images([task.image], work.model(Explainer).view)
    (shown,) = work.pictures([task.image], CANVAS)
    return Seen(ExplanationRequest(image=pixels, text=task.text), shown)


def convert(work: Work, task: ExplainInput, seen: Seen) -> Seen:
    """Nothing to convert: the explainer takes a picture and a text as they are."""
    return seen


def fuse(work: Work, task: ExplainInput, seen: Seen) -> Explained:
    return Explained(work.map(Explainer.explain, [seen.request])[0], seen.shown)


def output(work: Work, task: ExplainInput, explained: Explained) -> ExplainResult:
    explanation, shown = explained.explanation, explained.shown
    height, width = shown.pixels.shape[:2]
    work.artifact("heatmap", png(heat_map(explanation.heat, width, height)), "image/png")
    work.artifact("overlay", jpeg(overlay(shown.pixels, explanation.heat)), "image/jpeg")
    return ExplainResult(
        score=explanation.score,
        regions=[
            Region(score=region.share, box=in_pixels(region.box, shown.width, shown.height))
            for region in hot_regions(explanation.heat)
        ],
        tokens=[TokenWeight(token=token, weight=weight) for token, weight in explanation.tokens],
        width=shown.width,
        height=shown.height,
    )


PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output)
