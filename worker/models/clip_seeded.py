"""CLIP with random weights, the same at every start: it takes as long as a real one, and knows nothing.

For tests and benchmarks where no checkpoint is at hand. A manifest's `options` may hold `text` and `vision`,
tables of what differs from ViT-B/32, and `projection_dim`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from torchvision.models import EfficientNet_B0_Weights
from transformers import CLIPConfig, CLIPTokenizer

from shared.errors import BadConfiguration
from worker.models import clip
from worker.models.clip import Clip
from worker.models.sources import Source

_START, _END, _WORD_ENDS = "<|startoftext|>", "<|endoftext|>", "</w>"


def load(source: Source) -> Clip:
    """Return the CLIP that another capability has loaded, or build one.

    Raises:
        BadConfiguration: its grade would let somebody take its answers for true.
    """
    if source.card.grade != "test":
        raise BadConfiguration(f"{source.card.id} has random weights; its grade must be test")
    if shared := next((model for model in source.over.values() if isinstance(model, Clip)), None):
        return shared
    words = tokenizer()
    config = vit_b_32(words, **source.options)
    return clip.from_config(config, words, source.card.device, card=source.card)


def vit_b_32(
    words: Any,
    *,
    text: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
    projection_dim: int = 512,
) -> CLIPConfig:
    """Return the sizes of ViT-B/32 for a tokenizer, but for what `text` and `vision` say."""
    ids = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    return CLIPConfig(
        text_config={**ids, **(text or {})}, vision_config=dict(vision or {}), projection_dim=projection_dim
    )


def tokenizer() -> Any:
    """Return a tokenizer of CLIP's kind that knows the words in the names of ImageNet's classes.

    With them a caption has about as many tokens as with CLIP's own 49,408; other words fall into bytes.
    """
    letters = sorted(ByteLevel.alphabet())
    tokens = [_START, _END, *letters, *(letter + _WORD_ENDS for letter in letters)]
    merges: dict[tuple[str, str], None] = {}
    for label in EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]:
        for word in re.findall("[a-z]+", f"a photo of {label.lower()}"):
            pieces = [*word[:-1], word[-1] + _WORD_ENDS]
            begun = pieces[0]
            for piece in pieces[1:]:
                merges[begun, piece] = None
                begun += piece
    tokens += [begun + piece for begun, piece in merges]
    vocabulary: Any = {token: number for number, token in enumerate(tokens)}
    pairs: Any = list(merges)
    return CLIPTokenizer(vocab=vocabulary, merges=pairs)
