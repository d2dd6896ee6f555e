"""CLIP (Radford et al. 2021): pictures and texts in one space, by two transformers.

One object serves every capability. A manifest names its files once, and has the other capabilities stand
`over` that one, so that the weights are held once.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModel

from worker.media.views import View
from worker.models import checkpoints
from worker.models.capabilities import ModelCard
from worker.models.placing import card_at, dtype_of, placement, rounded
from worker.models.preprocessing import Preprocessing, preprocessing
from worker.models.sources import Source
from worker.models.towers import Towers
from worker.models.words import padded


class Clip(Towers):
    """A `TextEncoder`, an `ImageEncoder` and a `JointEncoder`."""

    prompt = "a photo of a {}"

    def _text_features(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        ids, _ = padded(rows, self._pad)
        # No mask: attention is causal, so padding behind a text cannot reach it, and the kernel is faster.
        embedded = self._network.get_text_features(input_ids=self._on_device(ids))
        features: torch.Tensor = embedded.pooler_output
        return features

    def _cell_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the last layer's patch tokens, projected as the whole picture's is."""
        vision = self._network.vision_model
        patches = vision(pixel_values=pixels).last_hidden_state[:, 1:]
        cells: torch.Tensor = self._network.visual_projection(vision.post_layernorm(patches))
        return cells


def load(source: Source) -> Clip:
    """Return the CLIP that another capability has loaded, or load it from the checkpoint's folder.

    The folder is the manifest's, or that of its verified weights. It holds the checkpoint as transformers
    saves it: config, tokenizer, `preprocessor_config.json`, `model.safetensors`.
    """
    if shared := next((model for model in source.over.values() if isinstance(model, Clip)), None):
        return shared
    folder = checkpoints.folder_of(source)
    checkpoints.config(folder, "clip")
    return _placed(
        source.card,
        checkpoints.network(folder, AutoModel, torch.float32, "cpu"),
        checkpoints.tokenizer(folder),
        preprocessing(folder),
        dtype_of(source),
    )


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
    return _placed(card, network, tokenizer, _openai(config), dtype or placement(device))


def _network(config: Any) -> torch.nn.Module:
    # A copy: the network keeps its configuration, and whoever gave this one may change it.
    network: torch.nn.Module = AutoModel.from_config(  # type: ignore[no-untyped-call]
        copy.deepcopy(config), attn_implementation="sdpa"
    )
    return network.eval().requires_grad_(False)


def _placed(
    card: ModelCard, network: Any, tokenizer: Any, preprocessing: Preprocessing, dtype: torch.dtype
) -> Clip:
    # Read before it is rounded: bf16 would move it by a third of a percent.
    logit_scale = float(network.logit_scale.exp())
    network = rounded(network, dtype).to(card.device)
    return Clip(card_at(card, dtype), network, tokenizer, preprocessing, logit_scale)


def _openai(config: Any) -> Preprocessing:
    """Return what the pictures of OpenAI's own checkpoints were like."""
    side = int(config.vision_config.image_size)
    return Preprocessing(
        view=View(width=side, height=side, fit="crop"),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    )
