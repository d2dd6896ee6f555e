"""A checkpoint's tokenizer as the torch backends use it: bounded, and one for all threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer

#: Cut before tokenising, so that the tokenizer's work is bounded: no word of any language is longer.
_MAX_CHARS_PER_TOKEN = 64


class Words:
    """Texts to token ids and back.

    It is a copy: transformers' own class sets padding and truncation anew at each call, which threads must
    not share. This one truncates its output itself, and so never changes.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Copy a tokenizer of transformers with a fast backend."""
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def limited(self, limit: int) -> Tokenizer:
        """Return a tokenizer that cuts texts to so many tokens, special ones included."""
        tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        tokenizer.enable_truncation(limit)
        return tokenizer

    def ids(self, text: str, limit: int) -> list[int]:
        """Return a text's first tokens, none of them special."""
        cut = text[: limit * _MAX_CHARS_PER_TOKEN]
        found: list[int] = self._tokenizer.encode(cut, add_special_tokens=False).ids[:limit]
        return found

    def cut(self, text: str, limit: int) -> str:
        """Return as much of a text's beginning as so many tokens hold."""
        text = text[: limit * _MAX_CHARS_PER_TOKEN]
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= limit else text[: offsets[limit - 1][1]] if limit else ""

    def text(self, ids: Sequence[int]) -> str:
        """Return what tokens say, special ones left out, no space around it."""
        return self.raw_text(ids).strip()

    def raw_text(self, ids: Sequence[int]) -> str:
        """Return what tokens say, special ones left out, as it goes on from what stands before."""
        said: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return said


def bounded(text: str, tokens: int) -> str:
    """Return as much of a text as so many tokens can hold at most."""
    return text[: tokens * _MAX_CHARS_PER_TOKEN]


def padded(
    rows: Sequence[Sequence[int]], pad: int, side: Literal["left", "right"] = "right", width: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, int64 of shape (rows, longest) or (rows, width), on the CPU."""
    shape = (len(rows), width or max(map(len, rows)))
    ids = np.full(shape, pad, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    for index, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(shape[1] - len(row), shape[1])
        ids[index, place] = row
        mask[index, place] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return the tensor there; from pinned memory the copy runs beside the kernels that are still at work."""
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
