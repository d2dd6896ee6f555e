"""Two transformers trained together, one for pictures, one for texts: what CLIP and SigLIP share."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models import EfficientNet_B0_Weights

from worker.media.views import View
from worker.models.capabilities import (
    ImageFeatures,
    ModelCard,
    Pixels,
    RegionFeatures,
    Vector,
    Vectors,
)
from worker.models.finite import require_finite
from worker.models.preprocessing import Preprocessing, pixel_values
from worker.models.runtimes.sizes import best_sizes
from worker.models.tokens import Tokens
from worker.models.vectors import unit
from worker.models.words import Words, bounded, on_device

_LABELS_AT_ONCE = 250
_OPERATIONS = {"encode_texts", "embed_texts"}


class Towers(abc.ABC):
    """A `TextEncoder`, an `ImageEncoder` and a `JointEncoder` in one; a subclass knows its network."""

    #: How a label of the vocabulary becomes a text.
    prompt: ClassVar[str]

    def __init__(
        self,
        card: ModelCard,
        network: Any,
        tokenizer: Any,
        preprocessing: Preprocessing,
        logit_scale: float,
    ) -> None:
        """Take over a network that is on its device, and read its vocabulary's labels once.

        Args:
            card: what it says of itself, the network's device and dtype included.
            network: a model of transformers with `get_text_features` and `get_image_features`.
            tokenizer: of transformers, with a fast backend.
            preprocessing: of the pictures.
            logit_scale: what cosines are multiplied by to be logits.
        """
        self._card = card
        self._network = network
        self._config: Any = network.config
        self._device = torch.device(card.device)
        self._max_tokens = int(self._config.text_config.max_position_embeddings)
        self._tokenizer = Words(tokenizer).limited(self._max_tokens)
        self._pad = int(tokenizer.pad_token_id)
        self._padding_side = tokenizer.padding_side
        self._logit_scale = logit_scale
        self._preprocessing = preprocessing
        self._vocabulary: list[str] = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
        self._batch_limits: dict[str, int] = {}
        self._labels = self._read_labels()
        self._vocabulary_vectors: Vectors = self._labels.cpu().numpy()

    @abc.abstractmethod
    def _text_features(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return (N, D) for the ids of N texts."""

    @abc.abstractmethod
    def _cell_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, cells, D) for pixel values, row by row."""

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def network(self) -> Any:
        """Return the transformers model itself, for an explainer that looks into it; it stays as it is."""
        return self._network

    @property
    def preprocessing(self) -> Preprocessing:
        """Return what its pictures are like."""
        return self._preprocessing

    @property
    def dim(self) -> int:
        return int(self._vocabulary_vectors.shape[1])

    @property
    def vocabulary(self) -> Sequence[str]:
        """Return the names of ImageNet's 1000 classes."""
        return self._vocabulary

    @property
    def vocabulary_vectors(self) -> Vectors:
        return self._vocabulary_vectors

    @property
    def view(self) -> View:
        side = int(self._config.vision_config.image_size)
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
        view = self.view
        picture, text = np.zeros((view.height, view.width, 3), dtype=np.uint8), "a photo of a cat on a chair"
        self.encode_images([picture])
        self.encode_regions([picture])
        self.encode_texts([text])
        if self._device.type == "cuda" and not self._batch_limits:
            (tokens,) = self.prepare("encode_texts", [text])
            pictures = {"encode_images": picture, "encode_regions": picture}
            self._batch_limits = best_sizes(self, pictures | dict.fromkeys(sorted(_OPERATIONS), tokens))

    def prepare(self, method: str, items: Sequence[Any]) -> Sequence[Any]:
        """Return texts as tokens; any thread may call. Items of other operations stay as they are."""
        if method not in _OPERATIONS:
            return items
        cut = [self._spelt(bounded(text, self._max_tokens)) for text in items]
        return [Tokens(one.ids) for one in self._tokenizer.encode_batch_fast(cut)]

    def encode_texts(self, texts: Sequence[str | Tokens]) -> list[Vector]:
        """Return one unit-length vector per text, or per text that was prepared."""
        if not texts:
            return []
        vectors = self._text_vectors(texts).cpu().numpy()
        require_finite(vectors)
        return list(vectors)

    def embed_texts(self, texts: Sequence[str | Tokens]) -> list[Vector]:
        """Return the same as `encode_texts`: the text space is the joint one."""
        return self.encode_texts(texts)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Pixels]) -> list[ImageFeatures]:
        """Return projected embeddings, and probabilities over all labels: softmax of the scaled cosines."""
        if not images:
            return []
        pooled = self._network.get_image_features(pixel_values=self._pixel_values(images)).pooler_output
        return [
            ImageFeatures(pooled=row[: self.dim], probabilities=row[self.dim :])
            for row in self._with_probabilities(pooled)
        ]

    @torch.inference_mode()
    def encode_regions(self, images: Sequence[Pixels]) -> list[RegionFeatures]:
        """Return the last layer's patch tokens, one cell a patch, brought where the whole picture is."""
        if not images:
            return []
        cells = self._cell_features(self._pixel_values(images))
        side = int(self._config.vision_config.image_size // self._config.vision_config.patch_size)
        grids = self._with_probabilities(cells).reshape(len(images), side, side, -1)
        return [
            RegionFeatures(grid=grid[..., : self.dim], probabilities=grid[..., self.dim :]) for grid in grids
        ]

    def project_images(self, features: Sequence[ImageFeatures]) -> list[Vector]:
        return list(unit(np.stack([one.pooled for one in features]))) if features else []

    def project_regions(self, features: Sequence[RegionFeatures]) -> list[Vectors]:
        return [unit(one.grid.reshape(-1, self.dim)) for one in features]

    def _spelt(self, text: str) -> str:
        """Return a text as those were spelt that the network was trained on."""
        return text

    @torch.inference_mode()
    def _text_vectors(self, texts: Sequence[str | Tokens]) -> torch.Tensor:
        rows = [one.ids if isinstance(one, Tokens) else self._ids(one) for one in texts]
        return torch.nn.functional.normalize(self._text_features(rows).float(), dim=-1)

    def _ids(self, text: str) -> Sequence[int]:
        tokens: Tokens = self.prepare("encode_texts", [text])[0]
        return tokens.ids

    def _pixel_values(self, images: Sequence[Pixels]) -> torch.Tensor:
        return pixel_values(images, self._preprocessing, self._device, self._network.dtype)

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return on_device(tensor, self._device)

    def _with_probabilities(self, embedded: torch.Tensor) -> NDArray[np.float32]:
        """Return rows of embedding and probabilities, fetched in one piece."""
        embedded = embedded.float()
        cosines = torch.nn.functional.normalize(embedded, dim=-1) @ self._labels.T
        chances = (self._logit_scale * cosines).softmax(dim=-1)
        rows: NDArray[np.float32] = torch.cat([embedded, chances], dim=-1).cpu().numpy()
        require_finite(rows)
        return rows

    def _read_labels(self) -> torch.Tensor:
        texts = [self.prompt.format(label) for label in self._vocabulary]
        parts = [texts[first : first + _LABELS_AT_ONCE] for first in range(0, len(texts), _LABELS_AT_ONCE)]
        return torch.cat([self._text_vectors(part) for part in parts])
