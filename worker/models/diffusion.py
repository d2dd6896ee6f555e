"""Texts to pictures by latent diffusion (Rombach et al. 2022), for checkpoints of Stable Diffusion's kind.

The checkpoint is a folder as diffusers saves a `StableDiffusionPipeline`: a text encoder, a denoising network
(`UNet2DConditionModel`), an autoencoder, a scheduler, perhaps a safety checker. The loop is ours, so that one
denoising step of many pictures is one batch, wherever each of them stands: the network takes a timestep per
picture. A scheduler remembers what it did (PNDM and DPM-Solver their last outputs, Euler its place), so every
canvas has one of its own, and a generator of its own: a picture depends on no neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils.logging import disable_progress_bar
from numpy.typing import NDArray
from PIL import Image

from shared.errors import BadConfiguration, ModelUnavailable
from worker.models.capabilities import Canvas, GenerationRequest, ModelCard, Pixels
from worker.models.checkpoints import LOCAL, said
from worker.models.finite import require_finite
from worker.models.latent_canvas import LatentCanvas, own, shortened, started
from worker.models.placing import card_at, dtype_of, rounded
from worker.models.sources import Source

_SUPPORTED = "StableDiffusionPipeline"
#: Whose classes a checkpoint's parts may be: none brings code of its own.
_LIBRARIES = {None, "diffusers", "transformers", "stable_diffusion"}
#: Cut before tokenising, so that the tokenizer's work is bounded.
_MAX_CHARS_PER_TOKEN = 64
#: Of the side that the checkpoint makes best; beyond, Stable Diffusion begins to paint things twice.
_LARGEST_SHARE = 1.5
_WARM_UP_SIDE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How a checkpoint is used; the `options` of a manifest entry."""

    #: Of a request that names no number.
    steps: int = 30
    #: What the text's share of the noise is multiplied by (Ho and Salimans 2022); up to 1: the text alone
    #: decides, and a step costs half.
    guidance: float = 7.5
    #: The side in pixels that it makes best; None: as the checkpoint says.
    size: int | None = None
    #: The longest side in pixels; None: half as much again as the one that it makes best.
    largest: int | None = None


class Diffusion:
    """A `Generator`."""

    def __init__(self, card: ModelCard, pipeline: Any, manner: Manner) -> None:
        """Take over a `StableDiffusionPipeline` that is on its device."""
        self._card = card
        self._pipeline = pipeline
        self._manner = manner
        self._device = torch.device(card.device)
        self._dtype: torch.dtype = pipeline.unet.dtype

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def size(self) -> tuple[int, int]:
        if self._manner.size is not None:
            return self._manner.size, self._manner.size
        sample: int | Sequence[int] = self._pipeline.unet.config.sample_size
        height, width = (sample, sample) if isinstance(sample, int) else sample
        return width * self._scale, height * self._scale

    @property
    def largest(self) -> int:
        return self._manner.largest or int(max(self.size) * _LARGEST_SHARE) // 8 * 8

    def warm_up(self) -> None:
        """Make one picture in one step; on a GPU of the best size, for which it chooses its kernels."""
        width, height = self.size if self._device.type == "cuda" else (_WARM_UP_SIDE, _WARM_UP_SIDE)
        request = GenerationRequest(
            prompt="a cat", width=width, height=height, steps=1, seed=0, image=None, strength=1.0
        )
        self.render(self.advance(self.begin([request])))

    @torch.inference_mode()
    def begin(self, requests: Sequence[GenerationRequest]) -> list[Canvas]:
        """Return a canvas for each request.

        Its `steps` are the scheduler's: PNDM takes one more than it is asked for, a start from a picture only
        the share that `strength` leaves.
        """
        if not requests:
            return []
        # One row each; the last, of no text, is there for guidance.
        texts = [*(one.prompt for one in requests), ""]
        *rows, nothing = torch.tensor_split(self._read(texts), len(texts))
        unguided = () if self._manner.guidance <= 1 else (nothing,)
        return [self._begun(one, (row, *unguided)) for one, row in zip(requests, rows, strict=True)]

    @torch.inference_mode()
    def advance(self, canvases: Sequence[Canvas]) -> list[Canvas]:
        """Return each canvas one step further; they may stand at different steps."""
        latent = [own(canvas) for canvas in canvases]
        noises = iter(self._noises([one for one in latent if one.is_moving]))
        return [one.stepped(next(noises)) if one.is_moving else one.counted() for one in latent]

    @torch.inference_mode()
    def render(self, canvases: Sequence[Canvas]) -> list[Pixels]:
        """Return what each canvas shows; one that is not done is decoded at half its size and enlarged."""
        return [self._rendered(own(canvas)) for canvas in canvases]

    @property
    def _scale(self) -> int:
        """Return the pixels along a side of one latent."""
        return int(self._pipeline.vae_scale_factor)

    def _read(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return what the network is told of each text, shape (N, words, D); long texts are cut."""
        tokenizer, encoder = self._pipeline.tokenizer, self._pipeline.text_encoder
        limit = tokenizer.model_max_length
        tokens = tokenizer(
            [prompt[: limit * _MAX_CHARS_PER_TOKEN] for prompt in prompts],
            padding="max_length",
            max_length=limit,
            truncation=True,
            return_tensors="pt",
        ).to(self._device)
        # Stable Diffusion was trained with texts padded and no mask; a few others say that they want one.
        masked = getattr(encoder.config, "use_attention_mask", False)
        read: torch.Tensor = encoder(
            tokens.input_ids, attention_mask=tokens.attention_mask if masked else None
        )[0]
        return read

    def _begun(self, request: GenerationRequest, prompts: tuple[torch.Tensor, ...]) -> LatentCanvas:
        scheduler = started(self._pipeline.scheduler, request.steps or self._manner.steps)
        generator = torch.Generator().manual_seed(request.seed)
        if request.image is None:
            timesteps = scheduler.timesteps
            latents = self._noise(request, generator) * scheduler.init_noise_sigma
        else:
            timesteps = shortened(scheduler, request.strength)
            latents = self._latents_of(request.image, generator)
            if len(timesteps):
                latents = scheduler.add_noise(latents, self._noise(request, generator), timesteps[:1])
        return LatentCanvas(
            shape=(request.height, request.width, 3),
            dtype=self._card.dtype,
            step=0,
            steps=max(1, len(timesteps)),
            latents=latents,
            expected=latents,
            prompts=prompts,
            timesteps=timesteps,
            scheduler=scheduler,
            generator=generator,
        )

    def _noise(self, request: GenerationRequest, generator: torch.Generator) -> torch.Tensor:
        channels = self._pipeline.unet.config.in_channels
        shape = (1, channels, request.height // self._scale, request.width // self._scale)
        return torch.randn(shape, generator=generator).to(self._device)

    def _latents_of(self, image: Pixels, generator: torch.Generator) -> torch.Tensor:
        vae = self._pipeline.vae
        pixels = torch.tensor(image).permute(2, 0, 1)[None]
        values = (pixels.float() / 255.0 * 2.0 - 1.0).to(self._device, self._dtype)
        latents: torch.Tensor = vae.encode(values).latent_dist.sample(generator=generator)
        return latents.float() * float(vae.config.scaling_factor)

    def _noises(self, canvases: Sequence[LatentCanvas]) -> Sequence[torch.Tensor]:
        """Return the noise that the network sees in each canvas, float32, like its latents.

        Raises:
            ModelFailed: it sees no number; nothing was changed, so that each canvas may be tried by itself.
        """
        if not canvases:
            return ()
        latents = torch.cat([one.network_input() for one in canvases]).to(self._dtype)
        times = torch.stack([one.time for one in canvases]).to(self._device)
        # Rows: all canvases with their texts, then, with guidance, all of them with none.
        columns = zip(*(one.prompts for one in canvases), strict=True)
        prompts = torch.cat([torch.cat(column) for column in columns])
        fold = len(prompts) // len(canvases)
        noises = self._pipeline.unet(
            latents.repeat(fold, 1, 1, 1), times.repeat(fold), encoder_hidden_states=prompts
        ).sample.float()
        if fold == 2:
            with_text, without = noises.chunk(2)
            noises = without + self._manner.guidance * (with_text - without)
        require_finite(noises.cpu().numpy())
        return list(noises.split(1))

    def _rendered(self, canvas: LatentCanvas) -> Pixels:
        if canvas.is_done:
            return self._decoded(canvas.latents)
        small = torch.nn.functional.interpolate(canvas.expected, scale_factor=0.5, mode="area")
        height, width, _ = canvas.shape
        picture = Image.fromarray(self._decoded(small))
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))

    def _decoded(self, latents: torch.Tensor) -> Pixels:
        vae = self._pipeline.vae
        picture = vae.decode((latents / vae.config.scaling_factor).to(self._dtype)).sample
        values: NDArray[np.float32] = picture[0].permute(1, 2, 0).float().cpu().numpy()
        require_finite(values)
        if self._is_forbidden(picture):
            return np.zeros(values.shape, dtype=np.uint8)
        return np.rint(np.clip(values / 2 + 0.5, 0.0, 1.0) * 255.0).astype(np.uint8)

    def _is_forbidden(self, picture: torch.Tensor) -> bool:
        """Return whether the checkpoint's safety checker, if it has one, wants the picture black."""
        # A copy, for the checker blackens what it is given.
        _, faults = self._pipeline.run_safety_checker(picture.clone(), self._device, self._dtype)
        return bool(faults and faults[0])


def load(source: Source) -> Diffusion:
    """Return the pipeline in the source's folder, whose weights must be safetensors.

    Raises:
        BadConfiguration: the folder holds another kind of pipeline, or parts of no known library.
        ModelUnavailable: a part is missing, broken, or not safetensors.
    """
    folder = source.require_folder()
    _require_supported(said(folder, "model_index.json"), source.card.id)
    manner, dtype = Manner(**source.options), dtype_of(source)
    pipeline = _pipeline(folder)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            rounded(part, dtype).eval().requires_grad_(False)
    return Diffusion(card_at(source.card, dtype), pipeline.to(source.card.device), manner)


def _require_supported(index: Mapping[str, Any], name: str) -> None:
    kind = index.get("_class_name", "folder without a model_index.json")
    if kind != _SUPPORTED:
        raise BadConfiguration(f"{name} is a {kind}; of diffusers' pipelines only {_SUPPORTED} is supported")
    libraries = {part: said[0] for part, said in index.items() if isinstance(said, list)}
    for part, library in libraries.items():
        if library not in _LIBRARIES:
            raise BadConfiguration(f"{name}: its {part} is of {library}, whose code is not trusted")


def _pipeline(folder: Path) -> Any:
    disable_progress_bar()
    pipelines: Any = StableDiffusionPipeline
    try:
        # No precision is asked for, it comes later: diffusers would change torch's own for all threads.
        # With little memory it would need the package accelerate.
        return pipelines.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False, **LOCAL)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModelUnavailable(f"the pipeline in {folder.name} cannot be read: {error}") from error
