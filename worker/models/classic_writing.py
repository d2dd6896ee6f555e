"""How GPT-2 goes on from a beginning: the likeliest token each time, a batch of beginnings at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from worker.models.finite import require_finite


@torch.inference_mode()
def go_on(
    network: Any, beginnings: Sequence[torch.Tensor], limits: Sequence[int], ends: Collection[int]
) -> list[list[int]]:
    """Return the tokens that follow each beginning.

    Beginnings are padded on the left, masked, and their positions counted from their first vector, so that
    each goes on as it would alone; keys and values are kept from step to step.

    Args:
        network: a `GPT2LMHeadModel` of transformers.
        beginnings: each (T, E), at least one vector, in the network's embedding space and on its device.
        limits: the most tokens for each, at least 1.
        ends: tokens that end a sentence; they are returned with it.

    Raises:
        ModelFailed: a logit is not finite.
    """
    # On the left: the last vector of each must stand where the network goes on from.
    inputs = pad_sequence(list(beginnings), batch_first=True, padding_side="left")
    lengths = torch.tensor([len(one) for one in beginnings], device=inputs.device)
    columns = torch.arange(inputs.shape[1], device=inputs.device)
    mask = (columns >= inputs.shape[1] - lengths[:, None]).long()
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    written: list[list[int]] = [[] for _ in beginnings]
    kept = None
    while True:
        out = network(
            inputs_embeds=inputs,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=kept,
            use_cache=True,
            logits_to_keep=1,
        )
        best = out.logits[:, -1].float().max(dim=-1)
        require_finite(best.values.cpu().numpy())
        going = [
            _write(tokens, token, limit, ends)
            for tokens, token, limit in zip(written, best.indices.tolist(), limits, strict=True)
        ]
        if not any(going):
            return written
        inputs = network.transformer.wte(best.indices)[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        # What has ended is computed on while others go, and may have come to the last position.
        positions = (positions[:, -1:] + 1).clamp(max=network.config.n_positions - 1)
        kept = out.past_key_values


def _write(tokens: list[int], token: int, limit: int, ends: Collection[int]) -> bool:
    """Add a token to a sentence that has not ended; return whether it goes on."""
    ended = len(tokens) >= limit or (bool(tokens) and tokens[-1] in ends)
    if not ended:
        tokens.append(token)
    return not ended and len(tokens) < limit and token not in ends
