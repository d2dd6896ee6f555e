"""all-MiniLM-L6-v2: sentences to unit vectors (Reimers and Gurevych 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from worker.models.capabilities import ModelCard, Vector
from worker.models.finite import require_finite
from worker.models.runtimes.network import Batch, Operation
from worker.models.runtimes.tuning import Tuning
from worker.models.sources import Source, card_of
from worker.models.tokens import Tokens

if TYPE_CHECKING:
    import torch

#: Goes up whenever `networks.minilm` computes something else from the same weights.
_VERSION = 1
_DIM = 384
#: `max_seq_length` in the model's own sentence_bert_config.json.
_MAX_TOKENS = 256
#: Cut before tokenising, so that the tokenizer's work is bounded. WordPiece makes one [UNK] of a word of more
#: than 100 characters, so 256 tokens seldom come from more than this.
_MAX_CHARS = _MAX_TOKENS * 128
#: Of the texts that batch sizes are measured with: captions are about as long.
_SAMPLE_TOKENS = (8, 32)
#: Texts that wait when a batch of them is measured: those of one job of 64.
_SAMPLE_WAITING = 64
#: The ids of whole words begin here; before them stand special tokens and single characters.
_FIRST_WORD, _VOCABULARY = 1996, 30522


class MiniLm:
    """A `TextEncoder` that `Prepares` and is `Tuned`.

    Args:
        tokenizer: cuts at 256 tokens and pads nothing. Nobody changes it any more: threads share it.
    """

    def __init__(self, card: ModelCard, tuning: Tuning, tokenizer: Tokenizer) -> None:
        self._card = card
        self._network = tuning.network
        self._batch = tuning.batch
        self._tokenizer = tokenizer

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return _DIM

    @property
    def batch_limits(self) -> Mapping[str, int]:
        return {"encode_texts": self._batch}

    def warm_up(self) -> None:
        self.encode_texts(["warm up"] * self._batch)

    def prepare(self, method: str, items: Sequence[Any]) -> Sequence[Any]:
        """Return each text's `Tokens`, for `encode_texts`; any thread may call it."""
        if method != "encode_texts":
            return items
        encoded = self._tokenizer.encode_batch_fast([text[:_MAX_CHARS] for text in items])
        return [Tokens(one.ids) for one in encoded]

    def encode_texts(self, texts: Sequence[str | Tokens]) -> list[Vector]:
        """Return one unit-length vector per text, as sentence-transformers does; reads 256 tokens."""
        if not texts:
            return []
        if isinstance(texts[0], Tokens):
            prepared: Sequence[Any] = texts
        else:
            prepared = self.prepare("encode_texts", texts)
        (vectors,) = self._network(*_padded([tokens.ids for tokens in prepared]))
        require_finite(vectors)
        return list(vectors)


def load(source: Source) -> MiniLm:
    """Load the encoder from the folder that holds its verified weights."""
    weights = source.require_weights()
    tuning = source.tune(
        Operation(
            name="encode_texts",
            revision=source.card.revision,
            version=_VERSION,
            build=partial(_network, weights, "sdpa"),
            build_for_export=partial(_network, weights, "eager"),
            sample=_sample,
            varying=((0, 1), (0, 1)),
        )
    )
    return MiniLm(card_of(source.card, tuning), tuning, _tokenizer(weights.parent))


def _network(weights: Path, attention: Literal["sdpa", "eager"]) -> torch.nn.Module:
    from worker.models.networks import minilm  # noqa: PLC0415  # torch: only where a network is built

    return minilm.network(weights, attention)


def _tokenizer(folder: Path) -> Tokenizer:
    # Not transformers' own class: it changes truncation at each call, and two threads that do fail.
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def _padded(rows: Sequence[Sequence[int]]) -> Batch:
    """Return ids and mask, int64 of shape (rows, longest); [PAD] is 0."""
    shape = (len(rows), max(map(len, rows)))
    ids: NDArray[np.int64] = np.zeros(shape, dtype=np.int64)
    mask: NDArray[np.int64] = np.zeros(shape, dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def _sample(items: int) -> Batch:
    """Return texts of like lengths, as the engine picks them: the larger the batch, the less alike."""
    random = np.random.default_rng(items)
    shortest, longest = _SAMPLE_TOKENS
    spread = (longest - shortest) * min(1.0, items / _SAMPLE_WAITING) / 2
    middle = (shortest + longest) / 2
    lengths = np.linspace(middle - spread, middle + spread, items + 2).astype(int)[1:-1]
    return _padded([random.integers(_FIRST_WORD, _VOCABULARY, length).tolist() for length in lengths])
