"""Objects by transformers that were trained end to end: RT-DETR (Zhao et al. 2024) and its kin.

Whatever `AutoModelForObjectDetection` knows: RT-DETR and RT-DETRv2, D-FINE, DETR, YOLOS. They differ in how
logits become scores (a sigmoid for each class, or a softmax with a class for nothing) and in the size of
their pictures; the checkpoint's own image processor tells both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from worker.media.views import View
from worker.models import checkpoints
from worker.models.capabilities import Detection, DetectionRequest, ModelCard, Pixels
from worker.models.finite import require_finite
from worker.models.guesses import alike, detections
from worker.models.placing import card_at, dtype_of
from worker.models.preprocessing import pixel_values, preprocessing_of
from worker.models.sources import Source

_THRESHOLD = 0.5
#: Below every score: which of them count is each request's own to say.
_ALL = -1.0


class RtDetr:
    """A `Detector`."""

    def __init__(self, card: ModelCard, network: Any, processor: Any, threshold: float) -> None:
        """Take over a network that is on its device.

        Args:
            card: what it says of itself, the network's device and dtype included.
            network: of `AutoModelForObjectDetection`.
            processor: the checkpoint's image processor.
            threshold: of requests that name none.
        """
        self._card = card
        self._network = network
        self._processor = processor
        self._preprocessing = preprocessing_of(processor)
        self._threshold = threshold
        self._device = torch.device(card.device)
        self._names: Mapping[int, str] = network.config.id2label

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return self._preprocessing.view

    @property
    def vocabulary(self) -> Sequence[str]:
        return [self._names[index] for index in sorted(self._names)]

    def warm_up(self) -> None:
        black = np.zeros((self.view.height, self.view.width, 3), dtype=np.uint8)
        self.detect([DetectionRequest(image=black, labels=(), threshold=None, max_objects=1)])

    def prepare(self, method: str, items: Sequence[DetectionRequest]) -> Sequence[DetectionRequest]:
        """Return requests that all name a threshold, so that the engine puts them into one batch."""
        if method != "detect":
            return items
        return [
            one._replace(threshold=self._threshold if one.threshold is None else one.threshold)
            for one in items
        ]

    def detect(self, requests: Sequence[DetectionRequest]) -> list[Sequence[Detection]]:
        """Return each picture's objects, surest first; pictures of one shape are one batch of the network."""
        ready = self.prepare("detect", requests)
        found: dict[int, Sequence[Detection]] = {}
        for indices in alike([one.image for one in ready]):
            found |= zip(indices, self._detect([ready[index] for index in indices]), strict=True)
        return [found[index] for index in range(len(ready))]

    @torch.inference_mode()
    def _detect(self, requests: Sequence[DetectionRequest]) -> list[Sequence[Detection]]:
        seen = self._network(self._pixel_values([one.image for one in requests]))
        # Scores and boxes want more digits than a network in bfloat16 has room for.
        seen.logits, seen.pred_boxes = seen.logits.float(), seen.pred_boxes.float()
        # Before the processor compares scores, for what is no number it leaves out.
        require_finite(seen.logits.cpu().numpy(), seen.pred_boxes.cpu().numpy())
        answers = self._processor.post_process_object_detection(seen, threshold=_ALL)
        return [
            detections(
                request,
                [self._names[index] for index in answer["labels"].tolist()],
                answer["scores"].cpu().numpy(),
                answer["boxes"].cpu().numpy(),
            )
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _pixel_values(self, images: Sequence[Pixels]) -> torch.Tensor:
        """Return pictures of one shape as the network takes them.

        Kinds that keep a picture's shape also want its shorter side to have a certain length, for which no
        view has a word: the checkpoint's processor sees to it. Nothing is padded, since all have one shape.
        """
        if self.view.fit != "inside":
            return pixel_values(images, self._preprocessing, self._device, self._network.dtype)
        # Copies: torch warns of pictures that lie in somebody else's memory, which it must not write to.
        copies = [image.copy() for image in images]
        made = self._processor(images=copies, return_tensors="pt", device=self._device)
        values: torch.Tensor = made["pixel_values"].to(self._network.dtype)
        return values


def load(source: Source) -> RtDetr:
    """Return the detector in the source's folder; in float32, unless another precision is asked for.

    Options: `threshold`.

    Raises:
        ModelUnavailable: files are missing or broken, or its backbone needs the package timm.
    """
    folder = checkpoints.folder_of(source)
    # In bfloat16, a box would be off by as much as three of 640 pixels.
    dtype = dtype_of(dataclasses.replace(source, dtype=source.dtype or "float32"))
    network = checkpoints.network(folder, AutoModelForObjectDetection, dtype, source.card.device)
    processors: Any = AutoImageProcessor
    processor = processors.from_pretrained(folder, **checkpoints.LOCAL)
    threshold = float(source.options.get("threshold", _THRESHOLD))
    return RtDetr(card_at(source.card, dtype), network, processor, threshold)
