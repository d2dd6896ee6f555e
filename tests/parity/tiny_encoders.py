"""Tiny checkpoints of CLIP, SigLIP and ViT, saved as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from tests.parity.tiny_weights import seeded

SIDE = 32
LABELS = ["cat", "dog", "red door", "boat", "tree", "house", "cup", "bridge", "horse", "apple", "sea", "sky"]
_TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_VISION = {**_TOWER, "image_size": SIDE, "patch_size": 8}


def tiny_clip(folder: Path, seed: int = 1) -> None:
    """Save a CLIP that reads bytes."""
    words = _clip_tokenizer()
    text = {**_TOWER, "vocab_size": len(words), "bos_token_id": words.bos_token_id}
    text |= {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    config = CLIPConfig(text_config=text, vision_config=dict(_VISION), projection_dim=24)
    network = seeded(CLIPModel(config), seed)
    # What trained ones have: e to this is 100.
    network.logit_scale.data.fill_(4.6)
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)


def tiny_siglip(folder: Path, seed: int = 2) -> None:
    """Save a SigLIP whose tokenizer is of SigLIP 2's kind: bytes, an end, padded on the right."""
    words = _siglip_tokenizer()
    text = {**_TOWER, "vocab_size": len(words), "max_position_embeddings": 64, "projection_size": 32}
    text |= {"pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id, "bos_token_id": 2}
    config = SiglipConfig(text_config=text, vision_config=dict(_VISION))
    network = seeded(SiglipModel(config), seed)
    network.logit_scale.data.fill_(4.7)
    network.logit_bias.data.fill_(-16.0)
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    SiglipImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)


def tiny_vit(folder: Path, seed: int = 3) -> None:
    """Save a ViT that knows twelve labels."""
    names = dict(enumerate(LABELS))
    config = ViTConfig(
        **_VISION,
        num_labels=len(LABELS),
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    torch.manual_seed(seed)
    seeded(ViTForImageClassification(config), seed).save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def _clip_tokenizer() -> Any:
    letters = sorted(ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    return CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[])


def _siglip_tokenizer() -> Any:
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *sorted(ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="right",
        model_input_names=["input_ids"],
    )
