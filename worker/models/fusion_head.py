"""The article's own classifier: BERT's vector attends over the CNN's cells, and a trained head decides.

The folder holds `model.safetensors`, the state of `networks.fusion_head.FusionHead`, and `config.json`:
`{"labels": [...]}`. Sizes are read from the weights; they must be those of the encoders below.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import BadConfiguration, ModelUnavailable
from worker.media.views import View
from worker.models import checkpoints
from worker.models.capabilities import FusionRequest, ImageEncoder, ModelCard, Prepares, TextEncoder
from worker.models.finite import require_finite
from worker.models.networks.fusion_head import FusionHead
from worker.models.placing import card_at
from worker.models.sources import Source


class FusionHeadClassifier:
    """A `FusionClassifier` that `Prepares` as far as the text encoder below does."""

    def __init__(
        self,
        card: ModelCard,
        head: FusionHead,
        vocabulary: Sequence[str],
        *,
        text: TextEncoder,
        image: ImageEncoder,
    ) -> None:
        """Take over a head that is on its device.

        Args:
            card: what it says of itself.
            head: in evaluation mode.
            vocabulary: one name a label.
            text: called on the same device thread.
            image: called on the same device thread.
        """
        self._card = card
        self._head = head
        self._vocabulary = vocabulary
        self._text = text
        self._image = image
        self._device = torch.device(card.device)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def view(self) -> View:
        return self._image.region_view

    @property
    def vocabulary(self) -> Sequence[str]:
        return self._vocabulary

    def warm_up(self) -> None:
        black = np.zeros((self.view.height, self.view.width, 3), dtype=np.uint8)
        self.classify_pairs([FusionRequest(image=black, text="warm up")])

    def prepare(self, method: str, items: Sequence[Any]) -> Sequence[Any]:
        """Return pairs with their texts as the text encoder prepares them, for `classify_pairs`."""
        if method != "classify_pairs" or not isinstance(self._text, Prepares):
            return items
        texts = self._text.prepare("encode_texts", [one.text for one in items])
        return [one._replace(text=text) for one, text in zip(items, texts, strict=True)]

    @torch.inference_mode()
    def classify_pairs(self, requests: Sequence[FusionRequest]) -> list[NDArray[np.float32]]:
        """Return for each pair what the head makes of it, over its own labels."""
        if not requests:
            return []
        vectors = np.stack(self._text.encode_texts([one.text for one in requests]))
        regions = self._image.encode_regions([one.image for one in requests])
        cells = np.stack([one.grid.reshape(-1, one.grid.shape[-1]) for one in regions])
        logits = self._head(*(torch.from_numpy(array).to(self._device) for array in (vectors, cells)))
        chances: NDArray[np.float32] = logits.softmax(dim=-1).cpu().numpy()
        require_finite(chances)
        return list(chances)


def load(source: Source) -> FusionHeadClassifier:
    """Load the head over a TextEncoder and an ImageEncoder, those that it was trained over.

    Raises:
        ModelUnavailable: the folder holds no head; an untrained one would answer at random.
    """
    text, image = source.over.get("TextEncoder"), source.over.get("ImageEncoder")
    if not isinstance(text, TextEncoder) or not isinstance(image, ImageEncoder):
        raise BadConfiguration(f"{source.card.id} is built over a TextEncoder and an ImageEncoder")
    folder = source.require_folder()
    head = _head(folder)
    labels = checkpoints.said(folder, "config.json").get("labels")
    answers = head.classifier[-1].out_features
    if not isinstance(labels, list) or len(labels) != answers:
        raise BadConfiguration(f"{folder.name}/config.json must name {answers} labels")
    trained, found = (head.query.in_features, head.key.in_features), (text.dim, image.dim)
    if trained != found:
        raise BadConfiguration(
            f"{source.card.id} was trained over encoders of {trained[0]} and {trained[1]} dimensions; "
            f"those below have {found[0]} and {found[1]}"
        )
    # Three small layers: nothing is gained in bf16.
    card = card_at(source.card, torch.float32)
    return FusionHeadClassifier(card, head.to(card.device), labels, text=text, image=image)


def _head(folder: Path) -> FusionHead:
    state = checkpoints.tensors(folder)
    try:
        dim, text = state["query.weight"].shape
        labels, hidden = state["classifier.2.weight"].shape
        image = state["key.weight"].shape[1]
        head = FusionHead(text=text, image=image, dim=dim, hidden=hidden, labels=labels)
        head.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelUnavailable(f"{folder.name} holds no fusion head: {error}") from error
    return head.float().eval().requires_grad_(False)
