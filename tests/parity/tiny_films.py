"""Checkpoints that see films, small enough to build in a test, their weights drawn from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
)

ACTIONS = {0: "juggling", 1: "swimming", 2: "chopping wood"}
FRAMES = 4
_SIDE = 32


def tiny_video_mae(folder: Path) -> Path:
    """Save a VideoMAE of four frames of 32 x 32 pixels and return its folder."""
    config = VideoMAEConfig(**_sizes(), tubelet_size=2, id2label=ACTIONS)
    return _saved(folder, lambda: VideoMAEForVideoClassification(config))


def tiny_timesformer(folder: Path) -> Path:
    """Save a TimeSformer of four frames of 32 x 32 pixels and return its folder."""
    config = TimesformerConfig(**_sizes(), id2label=ACTIONS)
    return _saved(folder, lambda: TimesformerForVideoClassification(config))


def _sizes() -> dict[str, Any]:
    return {
        "image_size": _SIDE,
        "patch_size": 8,
        "num_frames": FRAMES,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }


def _saved(folder: Path, network: Any) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = network().eval()
        # Wide, or every clip would show the same.
        for parameter in built.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=2.0 / parameter[0].numel() ** 0.5)
    built.save_pretrained(folder)
    processor = VideoMAEImageProcessor(
        size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE}
    )
    processor.save_pretrained(folder)
    return folder
