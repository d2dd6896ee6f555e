"""MiniLM from token ids to unit vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel


class SentenceVectors(torch.nn.Module):
    """int64 ids (N, T) and mask (N, T), 1 where there is a token, to vectors (N, D) of unit length."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor]:
        states = self._network(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * kept).sum(dim=1) / kept.sum(dim=1)
        return (torch.nn.functional.normalize(pooled, dim=-1),)


def network(weights: Path, attention: Literal["sdpa", "eager"]) -> SentenceVectors:
    """Return the network with its weights.

    Args:
        weights: the file; the model's configuration lies beside it.
        attention: `sdpa` is one kernel in torch; `eager` exports to fewer nodes, in less time.
    """
    # Not `from_pretrained`: it draws a progress bar and looks for other weight files beside the verified one.
    config = AutoConfig.from_pretrained(weights.parent, local_files_only=True)
    built: torch.nn.Module = AutoModel.from_config(config, attn_implementation=attention)  # type: ignore[no-untyped-call]
    state = load_file(weights)
    # Written by an older transformers; position ids are 0, 1, 2, ... and no weight.
    state.pop("embeddings.position_ids", None)
    built.load_state_dict(state)
    return SentenceVectors(built).eval().requires_grad_(False)
