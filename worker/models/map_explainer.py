"""An `Explainer` over any image encoder and joint space: activation maps, and words left out in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import BadConfiguration
from worker.media.views import View
from worker.models.capabilities import (
    Explanation,
    ExplanationRequest,
    ImageEncoder,
    JointEncoder,
    ModelCard,
    Pixels,
    Scored,
    Vector,
)
from worker.models.finite import require_finite
from worker.models.maps import VIEW, Heat, cells_of, classes_meant
from worker.models.sources import Source

#: Texts a request at most, whatever its length: words beyond are left out in runs, which share the loss.
_MOST_RUNS = 32


class MapExplainer:
    """Each batch takes one call of each encoder for all its pictures, and one for all its texts."""

    def __init__(self, card: ModelCard, image: ImageEncoder, joint: JointEncoder) -> None:
        self._card = card
        self._image = image
        self._joint = joint

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return VIEW

    def warm_up(self) -> None:
        black = np.zeros((VIEW.height, VIEW.width, 3), dtype=np.uint8)
        self.explain([ExplanationRequest(image=black, text="warm up")])

    def explain(self, requests: Sequence[ExplanationRequest]) -> list[Explanation]:
        """Return each pair's explanation.

        Its score is the cosine of the text with the whole picture, stretched into the encoder's view: unlike
        the view itself, which crops, that leaves nothing out. Its heat is that of `Cells`.
        """
        if not requests:
            return []
        images = [one.image for one in requests]
        runs = [_runs(one.text.split()) for one in requests]
        texts = [[one.text, *_without_each(run)] for one, run in zip(requests, runs, strict=True)]
        vectors = iter(self._joint.embed_texts([text for each in texts for text in each]))
        found = []
        for whole, cells, run, each in zip(
            self._whole(images), cells_of(self._image, self._joint, images), runs, texts, strict=True
        ):
            own = [next(vectors) for _ in each]
            heat = cells.heat(own[0], classes_meant(own[0], self._joint.vocabulary_vectors))
            found.append(_explanation(np.clip(np.stack(own) @ whole, -1.0, 1.0), heat, run))
        return found

    def _whole(self, images: Sequence[Pixels]) -> list[Vector]:
        """Return each whole picture in the joint space."""
        view = self._image.view
        size = view.width, view.height
        shrunk = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in images]
        return self._joint.project_images(self._image.encode_images(shrunk))


def load(source: Source) -> MapExplainer:
    """Build the explainer over the loaded encoders; it has no weights of its own."""
    image, joint = source.over.get("ImageEncoder"), source.over.get("JointEncoder")
    if not isinstance(image, ImageEncoder) or not isinstance(joint, JointEncoder):
        raise BadConfiguration(f"{source.card.id} is built over an ImageEncoder and a JointEncoder")
    card = dataclasses.replace(source.card, device=image.card.device, runtime=image.card.runtime)
    return MapExplainer(card, image, joint)


def _runs(words: list[str]) -> list[list[str]]:
    """Return the words in order, in runs of nearly equal length: one word each while they are few."""
    count = min(len(words), _MOST_RUNS)
    ends = [len(words) * index // count for index in range(count + 1)] if count else [0]
    return [words[start:end] for start, end in pairwise(ends)]


def _without_each(runs: list[list[str]]) -> list[str]:
    """Return the text without its first run, without its second, and so on; none where nothing would stay."""
    if len(runs) < 2:
        return []
    return [
        " ".join(word for other, run in enumerate(runs) if other != index for word in run)
        for index in range(len(runs))
    ]


def _explanation(scores: NDArray[np.float32], heat: Heat, runs: list[list[str]]) -> Explanation:
    """Return the explanation of one pair.

    Args:
        scores: of the text, then of what `_without_each` made of it; without its only word a text scores 0.
    """
    require_finite(scores, heat)
    losses = scores[0] - (scores[1:] if len(scores) > 1 else np.zeros(len(runs)))
    tokens: list[Scored] = [
        (word, float(loss) / len(run)) for run, loss in zip(runs, losses, strict=True) for word in run
    ]
    return Explanation(score=float(scores[0]), heat=heat, tokens=tokens)
