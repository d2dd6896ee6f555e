"""Checkpoints of detectors, small enough to build in a test, their weights drawn from a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPTokenizer,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

from worker.models.clip_seeded import tokenizer

LABELS = {0: "person", 1: "cat", 2: "chair", 3: "kite"}
_WORD_LIMIT = 16
#: Of weights, times the root of their inputs' number: wide, or every picture would have the same objects.
_SPREAD = 2.0


def tiny_rt_detr(folder: Path) -> Path:
    """Save an RT-DETR of 64 x 64 pixels and return its folder."""
    backbone: Any = RTDetrResNetConfig(**_resnet(), out_features=["stage2", "stage3", "stage4"])
    processor = RTDetrImageProcessor(size={"height": 64, "width": 64})
    config = RTDetrConfig(backbone_config=backbone, **_rt_detr())
    return _saved(folder, lambda: RTDetrForObjectDetection(config), processor)


def tiny_rt_detr_v2(folder: Path) -> Path:
    """Save an RT-DETRv2 of 64 x 64 pixels and return its folder."""
    backbone: Any = RTDetrResNetConfig(**_resnet(), out_features=["stage2", "stage3", "stage4"])
    processor = RTDetrImageProcessor(size={"height": 64, "width": 64})
    config = RTDetrV2Config(backbone_config=backbone, **_rt_detr())
    return _saved(folder, lambda: RTDetrV2ForObjectDetection(config), processor)


def tiny_detr(folder: Path) -> Path:
    """Save a DETR, pictures of at most 64 pixels with a shorter side of at most 48, and return its folder."""
    config = DetrConfig(
        backbone_config=ResNetConfig(**_resnet(), out_features=["stage4"]),
        use_timm_backbone=False,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=12,
        id2label=LABELS,
    )
    processor = DetrImageProcessor(size={"shortest_edge": 48, "longest_edge": 64})
    return _saved(folder, lambda: DetrForObjectDetection(config), processor)


def tiny_owlv2(folder: Path) -> Path:
    """Save an OWLv2 of 48 x 48 pixels and return its folder."""
    config = Owlv2Config(text_config=_owl_text(), vision_config=_owl_vision(), projection_dim=16)
    processor = Owlv2ImageProcessor(size={"height": 48, "width": 48})
    return _with_words(_saved(folder, lambda: Owlv2ForObjectDetection(config), processor))


def tiny_owlvit(folder: Path) -> Path:
    """Save an OWL-ViT of 48 x 48 pixels and return its folder."""
    config = OwlViTConfig(text_config=_owl_text(), vision_config=_owl_vision(), projection_dim=16)
    processor = OwlViTImageProcessor(size={"height": 48, "width": 48})
    return _with_words(_saved(folder, lambda: OwlViTForObjectDetection(config), processor))


def _saved(folder: Path, network: Any, processor: Any) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = network().eval()
        for parameter in built.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=_SPREAD / parameter[0].numel() ** 0.5)
    built.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _with_words(folder: Path) -> Path:
    _words().save_pretrained(folder)
    return folder


def _words() -> Any:
    """Return a tokenizer of OWL's kind: 0 pads, and the end has the largest number."""
    model = json.loads(tokenizer().backend_tokenizer.to_str())["model"]
    special = ["<|startoftext|>", "<|endoftext|>"]
    tokens = ["!", *sorted(set(model["vocab"]) - {"!", *special}), *special]
    vocabulary: Any = {token: number for number, token in enumerate(tokens)}
    pairs: Any = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, pad_token="!", model_max_length=_WORD_LIMIT)


def _resnet() -> dict[str, Any]:
    return {
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
    }


def _rt_detr() -> dict[str, Any]:
    return {
        "encoder_in_channels": [8, 16, 16],
        "feat_strides": [8, 16, 32],
        "encoder_hidden_dim": 16,
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "d_model": 16,
        "decoder_in_channels": [16, 16, 16],
        "decoder_ffn_dim": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "num_queries": 12,
        "id2label": LABELS,
    }


def _owl_text() -> dict[str, Any]:
    words = _words()
    return {
        "vocab_size": len(words),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": _WORD_LIMIT,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }


def _owl_vision() -> dict[str, Any]:
    return {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 48,
        "patch_size": 8,
    }
