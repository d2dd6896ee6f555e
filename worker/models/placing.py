"""On which device, and in which precision, a torch model of a checkpoint runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from worker.models.capabilities import ModelCard
from worker.models.sources import Source

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def placement(device: str) -> torch.dtype:
    """Return the precision of a device, where nobody asks for another: bfloat16 on a GPU, else float32."""
    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def dtype_of(source: Source, on_gpu: torch.dtype | None = None) -> torch.dtype:
    """Return the precision that a manifest entry asks for, or the device's.

    Args:
        source: the entry.
        on_gpu: the model's own on a GPU, where the entry asks for none.
    """
    if source.dtype is not None:
        return _DTYPES[source.dtype]
    is_gpu = source.card.device.startswith("cuda")
    return on_gpu if is_gpu and on_gpu is not None else placement(source.card.device)


def card_at(card: ModelCard, dtype: torch.dtype) -> ModelCard:
    """Return the card of a model whose weights are of this precision."""
    return dataclasses.replace(card, dtype=str(dtype).removeprefix("torch."))


def rounded(network: Any, dtype: torch.dtype) -> Any:
    """Return the network with its weights in this precision, in place.

    Buffers that are no weights keep theirs: rotary embeddings are computed from frequencies, which bfloat16
    would bend.
    """
    kept = set(network.state_dict(keep_vars=True))
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if name in kept and tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return network
