"""all-MiniLM-L6-v2: sentences to unit vectors (Reimers and Gurevych 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from worker.models.capabilities import ModelCard, Vector
from worker.models.sources import Source

#: `max_seq_length` in the model's own sentence_bert_config.json.
_MAX_TOKENS = 256
#: Cut before tokenising, so that the tokenizer's work is bounded. WordPiece makes one [UNK] of a word of more
#: than 100 characters, so 256 tokens seldom come from more than this.
_MAX_CHARS = _MAX_TOKENS * 128


class MiniLm:
    """A `TextEncoder`."""

    def __init__(self, card: ModelCard, model: torch.nn.Module, tokenizer: Any) -> None:
        self._card = card
        self._model = model
        self._tokenizer = tokenizer

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return int(self._model.config.hidden_size)  # type: ignore[union-attr,arg-type]  # transformers' own attribute

    def warm_up(self) -> None:
        self.encode_texts(["warm up"])

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> list[Vector]:
        """Return one unit-length vector per text, as sentence-transformers does; reads 256 tokens."""
        if not texts:
            return []
        tokens = self._tokenizer(
            [text[:_MAX_CHARS] for text in texts],
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
        ).to(self._card.device)
        states = self._model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
        vectors = torch.nn.functional.normalize(pooled, dim=-1)
        return list(vectors.float().cpu().numpy())


def load(source: Source) -> MiniLm:
    """Load the encoder from the folder that holds its verified weights."""
    weights = source.require_weights()
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, local_files_only=True)
    return MiniLm(source.card, _network(weights).to(source.card.device), tokenizer)


def _network(weights: Path) -> torch.nn.Module:
    # Not `from_pretrained`: it draws a progress bar and looks for other weight files beside the verified one.
    config = AutoConfig.from_pretrained(weights.parent, local_files_only=True)
    network: torch.nn.Module = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    state = load_file(weights)
    # Written by an older transformers; position ids are 0, 1, 2, ... and no weight.
    state.pop("embeddings.position_ids", None)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)
