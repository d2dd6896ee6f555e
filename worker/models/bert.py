"""BERT (Devlin et al. 2019): texts to unit vectors, the mean over their tokens.

Not the pooled [CLS] token: it is trained to tell whether two sentences follow one another, and as a sentence
vector it does worse than the mean, which makes cosines useful (Reimers and Gurevych 2019, table 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import BertModel

from worker.models import checkpoints
from worker.models.capabilities import ModelCard, Vector
from worker.models.finite import require_finite
from worker.models.placing import card_at, dtype_of
from worker.models.sources import Source
from worker.models.tokens import Tokens

#: Cut before tokenising, so that the tokenizer's work is bounded: WordPiece makes one [UNK] of a longer word.
_MAX_CHARS_PER_TOKEN = 128


class Bert:
    """A `TextEncoder` that `Prepares`."""

    def __init__(self, card: ModelCard, network: Any, tokenizer: Tokenizer) -> None:
        """Take over a network that is on its device.

        Args:
            card: what it says of itself.
            network: a `BertModel` of transformers; its pooler is not used.
            tokenizer: cut to the network's positions here; nobody changes it any more.
        """
        self._card = card
        self._network = network
        self._device = torch.device(card.device)
        self._max_tokens = int(network.config.max_position_embeddings)
        self._pad = int(network.config.pad_token_id or 0)
        self._tokenizer = tokenizer
        self._tokenizer.enable_truncation(self._max_tokens)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return int(self._network.config.hidden_size)

    def warm_up(self) -> None:
        self.encode_texts(["warm up"])

    def prepare(self, method: str, items: Sequence[Any]) -> Sequence[Any]:
        """Return each text's `Tokens`, for `encode_texts`; any thread may call it."""
        if method != "encode_texts":
            return items
        cut = [text[: self._max_tokens * _MAX_CHARS_PER_TOKEN] for text in items]
        return [Tokens(one.ids) for one in self._tokenizer.encode_batch_fast(cut)]

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str | Tokens]) -> list[Vector]:
        """Return one unit-length vector per text, or per text that was prepared; reads 512 tokens."""
        if not texts:
            return []
        prepared = texts if isinstance(texts[0], Tokens) else self.prepare("encode_texts", texts)
        ids, mask = self._padded([tokens.ids for tokens in prepared if isinstance(tokens, Tokens)])
        states = self._network(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        kept = mask.unsqueeze(-1).float()
        means = (states * kept).sum(dim=1) / kept.sum(dim=1)
        vectors = torch.nn.functional.normalize(means, dim=-1).cpu().numpy()
        require_finite(vectors)
        return list(vectors)

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask, int64 of shape (rows, longest), on the device."""
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids.to(self._device), mask.to(self._device)


def load(source: Source) -> Bert:
    """Load the encoder from a folder as transformers saves it; heads that it holds besides are left out."""
    folder = source.require_folder()
    dtype = dtype_of(source)
    network = checkpoints.network(folder, BertModel, dtype, source.card.device, add_pooling_layer=False)
    card = card_at(source.card, dtype)
    return Bert(card, network, checkpoints.shared_tokenizer(folder))
