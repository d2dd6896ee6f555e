"""Checkpoints of diffusers' kinds, small enough to build in a test, their weights drawn from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTextModel

from worker.models.clip_seeded import tokenizer

_WORD_LIMIT = 16
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULERS: dict[str, Any] = {
    "ddim": lambda: DDIMScheduler(**_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    "pndm": lambda: PNDMScheduler(**_BETAS, skip_prk_steps=True, steps_offset=1),
    "euler": lambda: EulerDiscreteScheduler(**_BETAS, steps_offset=1),
    # Draws noise at each step.
    "ddpm": lambda: DDPMScheduler(**_BETAS, clip_sample=False, steps_offset=1),
    "dpm": lambda: DPMSolverMultistepScheduler(**_BETAS, steps_offset=1),
}


def tiny_stable_diffusion(folder: Path, scheduler: str = "ddim", *, prudish: bool = False) -> Path:
    """Save a StableDiffusionPipeline of 32 x 32 pixels and return its folder.

    Args:
        folder: made when absent.
        scheduler: one of `SCHEDULERS`.
        prudish: with a safety checker, which finds fault with every picture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=_text_encoder(),
            tokenizer=_tokenizer(),
            unet=_unet(),
            scheduler=SCHEDULERS[scheduler](),
            safety_checker=_safety_checker() if prudish else None,
            feature_extractor=_feature_extractor() if prudish else None,
            requires_safety_checker=prudish,
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _tokenizer() -> Any:
    words = tokenizer()
    words.model_max_length = _WORD_LIMIT
    return words


def _text_encoder() -> CLIPTextModel:
    words = tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=_WORD_LIMIT,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=[8, 16],
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D", "DownEncoderBlock2D"],
        up_block_types=["UpDecoderBlock2D", "UpDecoderBlock2D"],
        latent_channels=4,
        norm_num_groups=4,
    ).eval()


def _safety_checker() -> StableDiffusionSafetyChecker:
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))
    # Below every cosine.
    checker.concept_embeds_weights.data.fill_(-2.0)
    return checker.eval()


def _feature_extractor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
