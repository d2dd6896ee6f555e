"""ViT (Dosovitskiy et al. 2021): pictures to a checkpoint's own classes, by one transformer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForImageClassification

from worker.media.views import View
from worker.models import checkpoints
from worker.models.capabilities import ImageFeatures, ModelCard, Pixels, RegionFeatures
from worker.models.finite import require_finite
from worker.models.placing import card_at, dtype_of
from worker.models.preprocessing import Preprocessing, pixel_values, preprocessing
from worker.models.runtimes.sizes import best_sizes
from worker.models.sources import Source


class Vit:
    """An `ImageEncoder`, and a `LinearClassifier` that a joint space can be fitted on."""

    def __init__(self, card: ModelCard, network: Any, preprocessing: Preprocessing) -> None:
        """Take over a `ViTForImageClassification` that is on its device."""
        self._card = card
        self._network = network
        self._config: Any = network.config
        self._device = torch.device(card.device)
        self._preprocessing = preprocessing
        self._vocabulary = [str(self._config.id2label[index]) for index in range(self._config.num_labels)]
        self._batch_limits: dict[str, int] = {}

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return int(self._config.hidden_size)

    @property
    def vocabulary(self) -> Sequence[str]:
        """Return the checkpoint's labels."""
        return self._vocabulary

    @property
    def view(self) -> View:
        side = int(self._config.image_size)
        return dataclasses.replace(self._preprocessing.view, width=side, height=side)

    @property
    def region_view(self) -> View:
        return dataclasses.replace(self.view, fit="stretch", crop_fraction=1.0)

    @property
    def batch_limits(self) -> Mapping[str, int]:
        """Return the best batch size by operation, measured while warming up; on a CPU none is."""
        return self._batch_limits

    def warm_up(self) -> None:
        """Run each operation once; on a GPU, find the best batch sizes too, the first time."""
        picture = np.zeros((self.view.height, self.view.width, 3), dtype=np.uint8)
        self.encode_images([picture])
        self.encode_regions([picture])
        if self._device.type == "cuda" and not self._batch_limits:
            self._batch_limits = best_sizes(self, {"encode_images": picture, "encode_regions": picture})

    def encode_images(self, images: Sequence[Pixels]) -> list[ImageFeatures]:
        """Return the [CLS] token after the last layer norm, and the probabilities of the labels."""
        if not images:
            return []
        return [
            ImageFeatures(pooled=row[0, : self.dim], probabilities=row[0, self.dim :])
            for row in self._tokens(images, slice(0, 1))
        ]

    def encode_regions(self, images: Sequence[Pixels]) -> list[RegionFeatures]:
        """Return the patch tokens, one cell a patch, and the classifier applied to each.

        The classifier was trained on [CLS] alone: that it can read patches at all is what self-attention
        leaves there.
        """
        if not images:
            return []
        side = int(self._config.image_size // self._config.patch_size)
        grids = self._tokens(images, slice(1, None)).reshape(len(images), side, side, -1)
        return [
            RegionFeatures(grid=grid[..., : self.dim], probabilities=grid[..., self.dim :]) for grid in grids
        ]

    def class_weights(self) -> NDArray[np.float32]:
        """Return the classifier's rows, float32 of shape (V, F)."""
        rows: NDArray[np.float32] = self._network.classifier.weight.float().cpu().numpy()
        return rows

    @torch.inference_mode()
    def _tokens(self, images: Sequence[Pixels], which: slice) -> NDArray[np.float32]:
        """Return features and probabilities side by side, (N, tokens, F + V), fetched in one piece."""
        values = pixel_values(images, self._preprocessing, self._device, self._network.dtype)
        tokens = self._network.vit(pixel_values=values).last_hidden_state[:, which]
        chances = self._network.classifier(tokens).float().softmax(dim=-1)
        rows: NDArray[np.float32] = torch.cat([tokens.float(), chances], dim=-1).cpu().numpy()
        require_finite(rows)
        return rows


def load(source: Source) -> Vit:
    """Load the classifier from the checkpoint's folder.

    Raises:
        ModelUnavailable: files are missing or broken, or it is no ViT with a classifier.
    """
    folder = checkpoints.folder_of(source)
    checkpoints.config(folder, "vit")
    dtype = dtype_of(source)
    network = checkpoints.network(folder, AutoModelForImageClassification, dtype, source.card.device)
    return Vit(card_at(source.card, dtype), network, preprocessing(folder))
