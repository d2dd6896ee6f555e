"""SigLIP (Zhai et al. 2023) and SigLIP 2 of one resolution (Tschannen et al. 2025): texts beside pictures.

As `clip`: one object serves every capability. It was trained to judge each pair by itself, by the sigmoid of
`scale * cosine + bias`. Probabilities over the vocabulary must sum to 1, so they are the softmax of the same
logits; the bias, one number for all, makes no difference there and is not read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModel

from worker.models import checkpoints
from worker.models.placing import card_at, dtype_of, rounded
from worker.models.preprocessing import preprocessing
from worker.models.sources import Source
from worker.models.towers import Towers
from worker.models.words import padded


class Siglip(Towers):
    """A `TextEncoder`, an `ImageEncoder` and a `JointEncoder`."""

    prompt = "this is a photo of {}."

    def _spelt(self, text: str) -> str:
        # Both generations were trained on lower case; not every checkpoint's tokenizer sees to it.
        return text.lower()

    def _text_features(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        # To the full length and without a mask, as in training: the text's vector is that of the last place.
        ids, _ = padded(rows, self._pad, self._padding_side, width=self._max_tokens)
        features: torch.Tensor = self._network.get_text_features(input_ids=self._on_device(ids)).pooler_output
        return features

    def _cell_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what the pooling head makes of each patch token by itself.

        The head attends over all patches for the whole picture. Over one alone its attention is 1, so this is
        its value and output projections and its MLP: where the picture would be if all of it were that patch.
        """
        vision = self._network.vision_model
        patches = vision(pixel_values=pixels).last_hidden_state
        cells: torch.Tensor = vision.head(patches.flatten(0, 1).unsqueeze(1))
        return cells.reshape(*patches.shape[:2], -1)


def load(source: Source) -> Siglip:
    """Return the SigLIP that another capability has loaded, or load it from the checkpoint's folder.

    Raises:
        ModelUnavailable: files are missing or broken, the tokenizer is SentencePiece's own without a
            `tokenizer.json`, or the checkpoint is of SigLIP 2's other kind, NaFlex, of no one resolution.
    """
    if shared := next((model for model in source.over.values() if isinstance(model, Siglip)), None):
        return shared
    folder = checkpoints.folder_of(source)
    checkpoints.config(folder, "siglip")
    network = checkpoints.network(folder, AutoModel, torch.float32, "cpu")
    # Read before it is rounded, as CLIP's is.
    logit_scale = float(network.logit_scale.exp())
    dtype = dtype_of(source)
    return Siglip(
        card_at(source.card, dtype),
        rounded(network, dtype).to(source.card.device),
        checkpoints.tokenizer(folder),
        preprocessing(folder),
        logit_scale,
    )
