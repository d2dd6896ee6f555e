"""CLIP (Radford et al. 2021): pictures and texts in one space, by two transformers.

One object serves every capability. A manifest names its files once, and has the other capabilities stand
`over` that one, so that the weights are held once.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torchvision.models import EfficientNet_B0_Weights
from transformers import AutoConfig, AutoModel, AutoTokenizer

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
from worker.models.sources import Source
from worker.models.tokens import Tokens
from worker.models.vectors import unit

#: Cut before tokenising, so that the tokenizer's work is bounded: no word is longer in any language's CLIP.
_MAX_CHARS_PER_TOKEN = 64
_PROMPT = "a photo of a {}"
_LABELS_AT_ONCE = 250
#: Tried on a GPU while warming up. The smallest that reaches this share of the best rate is taken: a larger
#: one gains nothing and delays its first items.
_SIZES = (16, 32, 64, 128, 256)
_GOOD_ENOUGH = 0.95
_TRIALS = 3
_OPERATIONS = {"encode_texts", "embed_texts"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What the pictures of a checkpoint were like when it was trained."""

    mean: Sequence[float] = (0.48145466, 0.4578275, 0.40821073)
    std: Sequence[float] = (0.26862954, 0.26130258, 0.27577711)
    #: The side that is kept of a picture's shorter side.
    crop_fraction: float = 1.0


class Clip:
    """A `TextEncoder`, an `ImageEncoder` and a `JointEncoder`."""

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
            network: a `CLIPModel` of transformers.
            tokenizer: of transformers, with a fast backend.
            preprocessing: of the pictures.
            logit_scale: what cosines are multiplied by to be logits.
        """
        self._card = card
        self._network = network
        self._config: Any = network.config
        self._device = torch.device(card.device)
        # Transformers' own call sets padding and truncation anew each time, which threads must not share.
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._config.text_config.max_position_embeddings)
        self._pad = int(tokenizer.pad_token_id)
        self._logit_scale = logit_scale
        self._crop_fraction = preprocessing.crop_fraction
        self._mean = torch.tensor(preprocessing.mean, device=self._device) * 255.0
        self._std = torch.tensor(preprocessing.std, device=self._device) * 255.0
        self._vocabulary: list[str] = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
        self._batch_limits: dict[str, int] = {}
        self._labels = self._read_labels()
        self._vocabulary_vectors: Vectors = self._labels.cpu().numpy()

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return int(self._config.projection_dim)

    @property
    def vocabulary(self) -> Sequence[str]:
        return self._vocabulary

    @property
    def vocabulary_vectors(self) -> Vectors:
        return self._vocabulary_vectors

    @property
    def view(self) -> View:
        side = int(self._config.vision_config.image_size)
        return View(width=side, height=side, fit="crop", crop_fraction=self._crop_fraction)

    @property
    def region_view(self) -> View:
        return dataclasses.replace(self.view, fit="stretch", crop_fraction=1.0)

    @property
    def batch_limits(self) -> Mapping[str, int]:
        """Return the best batch size by operation, measured while warming up; on a CPU none is."""
        return self._batch_limits

    def warm_up(self) -> None:
        """Run each operation once; on a GPU, find the best batch sizes too, the first time."""
        picture, text = _black(self.view), "a photo of a cat on a chair"
        self.encode_images([picture])
        self.encode_regions([picture])
        self.encode_texts([text])
        if self._device.type == "cuda" and not self._batch_limits:
            tokens = self.prepare("encode_texts", [text])
            for operation, item in (
                ("encode_images", picture),
                ("encode_regions", picture),
                ("encode_texts", tokens[0]),
                ("embed_texts", tokens[0]),
            ):
                self._batch_limits[operation] = self._best_size(operation, item)

    def prepare(self, method: str, items: Sequence[Any]) -> Sequence[Any]:
        """Return texts as tokens; any thread may call. Items of other operations stay as they are."""
        if method not in _OPERATIONS:
            return items
        limit = self._config.text_config.max_position_embeddings * _MAX_CHARS_PER_TOKEN
        return [
            Tokens(one.ids) for one in self._tokenizer.encode_batch_fast([text[:limit] for text in items])
        ]

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
        """Return projected embeddings, and probabilities of "a photo of a <label>" over all labels."""
        if not images:
            return []
        pooled = self._network.get_image_features(pixel_values=self._pixel_values(images)).pooler_output
        return [
            ImageFeatures(pooled=row[: self.dim], probabilities=row[self.dim :])
            for row in self._with_probabilities(pooled)
        ]

    @torch.inference_mode()
    def encode_regions(self, images: Sequence[Pixels]) -> list[RegionFeatures]:
        """Return the last layer's patch tokens, one cell a patch, projected as the whole picture's is."""
        if not images:
            return []
        vision = self._network.vision_model
        patches = vision(pixel_values=self._pixel_values(images)).last_hidden_state[:, 1:]
        cells = self._network.visual_projection(vision.post_layernorm(patches))
        side = int(self._config.vision_config.image_size // self._config.vision_config.patch_size)
        grids = self._with_probabilities(cells).reshape(len(images), side, side, -1)
        return [
            RegionFeatures(grid=grid[..., : self.dim], probabilities=grid[..., self.dim :]) for grid in grids
        ]

    def project_images(self, features: Sequence[ImageFeatures]) -> list[Vector]:
        return list(unit(np.stack([one.pooled for one in features]))) if features else []

    def project_regions(self, features: Sequence[RegionFeatures]) -> list[Vectors]:
        return [unit(one.grid.reshape(-1, self.dim)) for one in features]

    @torch.inference_mode()
    def _text_vectors(self, texts: Sequence[str | Tokens]) -> torch.Tensor:
        rows = [one.ids if isinstance(one, Tokens) else self._ids(one) for one in texts]
        ids = np.full((len(rows), max(map(len, rows))), self._pad, dtype=np.int64)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = tokens
        # No mask: attention is causal, so padding behind a text cannot reach it, and the kernel is faster.
        embedded = self._network.get_text_features(input_ids=self._on_device(torch.from_numpy(ids)))
        return torch.nn.functional.normalize(embedded.pooler_output.float(), dim=-1)

    def _ids(self, text: str) -> Sequence[int]:
        tokens: Tokens = self.prepare("encode_texts", [text])[0]
        return tokens.ids

    def _pixel_values(self, images: Sequence[Pixels]) -> torch.Tensor:
        """Return the batch as the network wants it; bytes travel, floats are made on the device."""
        shape = (len(images), *images[0].shape)
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        np.stack(images, out=batch.numpy())
        values = (batch.to(self._device, non_blocking=True).float() - self._mean) / self._std
        return values.permute(0, 3, 1, 2).to(self._network.dtype)

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _with_probabilities(self, embedded: torch.Tensor) -> NDArray[np.float32]:
        """Return rows of embedding and probabilities, fetched in one piece."""
        embedded = embedded.float()
        cosines = torch.nn.functional.normalize(embedded, dim=-1) @ self._labels.T
        chances = (self._logit_scale * cosines).softmax(dim=-1)
        rows: NDArray[np.float32] = torch.cat([embedded, chances], dim=-1).cpu().numpy()
        require_finite(rows)
        return rows

    def _read_labels(self) -> torch.Tensor:
        texts = [_PROMPT.format(label) for label in self._vocabulary]
        parts = [texts[first : first + _LABELS_AT_ONCE] for first in range(0, len(texts), _LABELS_AT_ONCE)]
        return torch.cat([self._text_vectors(part) for part in parts])

    def _best_size(self, operation: str, item: Any) -> int:
        """Return the smallest batch size that is nearly as fast, for each item, as the fastest."""
        rates: dict[int, float] = {}
        for size in _SIZES:
            try:
                rates[size] = size / self._seconds(operation, [item] * size)
            except torch.OutOfMemoryError:
                break
        torch.cuda.empty_cache()
        best = max(rates.values(), default=0.0)
        return next((size for size, rate in rates.items() if rate >= best * _GOOD_ENOUGH), 1)

    def _seconds(self, operation: str, batch: list[Any]) -> float:
        call = getattr(self, operation)
        call(batch)
        return min(_timed(call, batch) for _ in range(_TRIALS))


def load(source: Source) -> Clip:
    """Return the CLIP that another capability has loaded, or load it from the folder of its verified weights.

    The folder holds the checkpoint as transformers saves it: config, tokenizer, `preprocessor_config.json`.
    """
    if shared := next((model for model in source.over.values() if isinstance(model, Clip)), None):
        return shared
    weights = source.require_weights()
    folder = weights.parent
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    network = _network(config)
    state = load_file(weights)
    # Written by an older transformers; position ids are 0, 1, 2, ... and no weight.
    for side in ("text_model", "vision_model"):
        state.pop(f"{side}.embeddings.position_ids", None)
    network.load_state_dict(state)
    return _placed(source.card, network, tokenizer, _preprocessing(folder))


def from_config(
    config: Any,
    tokenizer: Any,
    device: str,
    dtype: torch.dtype | None = None,
    *,
    seed: int = 0,
    card: ModelCard | None = None,
) -> Clip:
    """Return a CLIP with random weights, the same for the same seed; it knows nothing, and takes as long.

    Args:
        config: a `CLIPConfig` whose text part names the tokenizer's end token.
        tokenizer: of transformers, with a fast backend.
        device: `cpu`, `cuda:0`.
        dtype: default: what `load` takes there.
        card: what it says of itself; device and dtype are filled in.
    """
    card = card or ModelCard(
        id="iconotext/seeded-clip",
        revision=f"seed {seed}",
        grade="test",
        licence="Apache-2.0",
        device=device,
        dtype="",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(config)
    card = dataclasses.replace(card, device=device)
    return _placed(card, network, tokenizer, Preprocessing(), dtype)


def _network(config: Any) -> torch.nn.Module:
    # A copy: the network keeps its configuration, and whoever gave this one may change it.
    network: torch.nn.Module = AutoModel.from_config(  # type: ignore[no-untyped-call]
        copy.deepcopy(config), attn_implementation="sdpa"
    )
    return network.eval().requires_grad_(False)


def _placed(
    card: ModelCard,
    network: Any,
    tokenizer: Any,
    preprocessing: Preprocessing,
    dtype: torch.dtype | None = None,
) -> Clip:
    dtype = dtype or (torch.bfloat16 if card.device.startswith("cuda") else torch.float32)
    card = dataclasses.replace(card, dtype=str(dtype).removeprefix("torch."))
    # Read before it is rounded: bf16 would move it by a third of a percent.
    logit_scale = float(network.logit_scale.exp())
    return Clip(card, network.to(card.device, dtype), tokenizer, preprocessing, logit_scale)


def _preprocessing(folder: Path) -> Preprocessing:
    said = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    kept, shorter = _side(said["crop_size"]), _side(said["size"])
    return Preprocessing(
        mean=said["image_mean"], std=said["image_std"], crop_fraction=min(1.0, kept / shorter)
    )


def _side(size: int | Mapping[str, int]) -> int:
    """Return the pixels of a size in any of the forms that preprocessors have had."""
    return size if isinstance(size, int) else next(iter(size.values()))


def _black(view: View) -> Pixels:
    return np.zeros((view.height, view.width, 3), dtype=np.uint8)


def _timed(call: Any, batch: list[Any]) -> float:
    began = time.perf_counter()
    call(batch)
    return time.perf_counter() - began
