"""Objects by any name: OWLv2 (Minderer et al. 2023) and OWL-ViT (Minderer et al. 2022).

A picture transformer predicts a box at each patch, and compares the patch with the names, each put into a
sentence, as CLIP does. OWLv2 sees the whole picture in its own shape, at the top left of a black square;
OWL-ViT sees it stretched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForZeroShotObjectDetection

from worker.media.views import View
from worker.models import checkpoints
from worker.models.capabilities import Detection, DetectionRequest, ModelCard, Pixels
from worker.models.guesses import detections
from worker.models.placing import card_at, dtype_of
from worker.models.preprocessing import Preprocessing, pixel_values, preprocessing
from worker.models.sources import Source
from worker.models.words import Words, bounded, on_device

#: As transformers' own default for both kinds.
_THRESHOLD = 0.1
_PROMPT = "a photo of a {}"


class Names:
    """What is looked for in one picture. It has no length and no shape: any two may share a batch."""

    def __init__(self, request: DetectionRequest, ids: Sequence[Sequence[int]]) -> None:
        self.request = request
        #: The tokens of each label's sentence.
        self.ids = ids


class Prepared(NamedTuple):
    """A request as the network takes it."""

    #: Of the network's size.
    image: Pixels
    names: Names
    #: Width and height of the square in widths and heights of the picture, at least 1.
    square: tuple[float, float]


class Owlv2:
    """An `OpenDetector`."""

    def __init__(
        self,
        card: ModelCard,
        network: Any,
        words: Words,
        preprocessing: Preprocessing,
        *,
        threshold: float = _THRESHOLD,
        prompt: str = _PROMPT,
    ) -> None:
        """Take over a network that is on its device.

        Args:
            card: what it says of itself, the network's device and dtype included.
            network: an `Owlv2ForObjectDetection`, or an `OwlViTForObjectDetection`, of transformers.
            words: its tokenizer.
            preprocessing: of the pictures; its view is `inside` for those that go into a square.
            threshold: of requests that name none.
            prompt: the sentence that a label is put into.
        """
        self._card = card
        self._network = network
        self._max_tokens = int(network.config.text_config.max_position_embeddings)
        self._tokenizer = words.limited(self._max_tokens)
        self._preprocessing = preprocessing
        self._threshold = threshold
        self._prompt = prompt
        self._device = torch.device(card.device)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return self._preprocessing.view

    def warm_up(self) -> None:
        black = np.zeros((self.view.height, self.view.width, 3), dtype=np.uint8)
        self.find([DetectionRequest(image=black, labels=("cat",), threshold=None, max_objects=1)])

    def prepare(self, method: str, items: Sequence[DetectionRequest]) -> Sequence[Any]:
        """Return pictures of one size, whatever theirs, and labels as tokens; any thread may call."""
        return [self._prepared(one) for one in items] if method == "find" else items

    @torch.inference_mode()
    def find(self, requests: Sequence[DetectionRequest | Prepared]) -> list[Sequence[Detection]]:
        """Return each picture's objects, surest first; a patch speaks for one label, the likeliest."""
        if not requests:
            return []
        ready = [one if isinstance(one, Prepared) else self._prepared(one) for one in requests]
        pixels = pixel_values(
            [one.image for one in ready], self._preprocessing, self._device, self._network.dtype
        )
        seen = self._network(input_ids=self._ids([one.names for one in ready]), pixel_values=pixels)
        # Padded labels have the least logit that there is.
        logits, labels = seen.logits.float().max(dim=-1)
        answers = torch.cat([seen.pred_boxes.float(), logits.sigmoid()[..., None]], dim=-1).cpu().numpy()
        return [
            _detections(one, row, answer)
            for one, row, answer in zip(ready, labels.tolist(), answers, strict=True)
        ]

    def _prepared(self, request: DetectionRequest) -> Prepared:
        threshold = self._threshold if request.threshold is None else request.threshold
        sentences = [bounded(self._prompt.format(label), self._max_tokens) for label in request.labels]
        names = Names(
            request._replace(threshold=threshold),
            [one.ids for one in self._tokenizer.encode_batch_fast(sentences)],
        )
        if self.view.fit != "inside":
            return Prepared(request.image, names, (1.0, 1.0))
        height, width, _ = request.image.shape
        longest = max(height, width)
        return Prepared(_squared(request.image, self.view.width), names, (longest / width, longest / height))

    def _ids(self, names: Sequence[Names]) -> torch.Tensor:
        """Return (N * most, tokens); a label that is none begins with a 0, which the network leaves out."""
        most = max(len(one.ids) for one in names)
        ids = np.zeros((len(names), most, self._max_tokens), dtype=np.int64)
        for row, one in zip(ids, names, strict=True):
            for label, tokens in zip(row, one.ids, strict=False):
                label[: len(tokens)] = tokens
        return on_device(torch.from_numpy(ids.reshape(-1, self._max_tokens)), self._device)


def load(source: Source) -> Owlv2:
    """Return the detector in the source's folder; on a GPU in float16, unless another is asked for.

    Options: `threshold`, `prompt`.

    Raises:
        ModelUnavailable: files are missing or broken, or the checkpoint is of another kind.
    """
    folder = checkpoints.folder_of(source)
    kind = checkpoints.config(folder, "owlv2", "owlvit").model_type
    # In bfloat16, a box would be off by as much as four of 960 pixels; in float16 by half of one.
    default = "float16" if source.card.device.startswith("cuda") else "float32"
    dtype = dtype_of(dataclasses.replace(source, dtype=source.dtype or default))
    pictures = preprocessing(folder)
    if kind == "owlv2":
        view = dataclasses.replace(pictures.view, fit="inside")
        pictures = dataclasses.replace(pictures, view=view)
    network = checkpoints.network(folder, AutoModelForZeroShotObjectDetection, dtype, source.card.device)
    words = Words(checkpoints.tokenizer(folder))
    return Owlv2(card_at(source.card, dtype), network, words, pictures, **source.options)


def _squared(image: Pixels, side: int) -> Pixels:
    """Return the picture at the top left of a black square of so many pixels, enlarged to fill it."""
    height, width, _ = image.shape
    longest = max(height, width)
    square = np.zeros((longest, longest, 3), dtype=np.uint8)
    square[:height, :width] = image
    if longest == side:
        return square
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR))


def _detections(one: Prepared, labels: Sequence[int], answer: NDArray[np.float32]) -> list[Detection]:
    """Return a picture's objects.

    Args:
        one: what was asked.
        labels: the likeliest at each patch.
        answer: of shape (patches, 5): centre, width and height in shares of the square, and the score.
    """
    centre, size, scores = answer[:, :2], answer[:, 2:4], answer[:, 4]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1) * np.tile(one.square, 2)
    request = one.names.request
    return detections(request, [request.labels[index] for index in labels], scores, boxes)
