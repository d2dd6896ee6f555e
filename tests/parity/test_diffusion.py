"""Our denoising loop paints what diffusers' own pipelines paint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers", reason="the extra `diffusion` is not installed")

from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

from tests.parity.tiny_diffusion import SCHEDULERS, tiny_stable_diffusion
from worker.models import diffusion
from worker.models.capabilities import GenerationRequest, ModelCard, Pixels
from worker.models.diffusion import Diffusion
from worker.models.latent_canvas import LatentCanvas
from worker.models.runtimes.network import Place
from worker.models.sources import Source

# Euler's and DPM-Solver's schedulers in diffusers 0.42 hand tensors to numpy in a way that is deprecated.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:diffusers\.schedulers"
)
SIDE = 32
#: Of latents, whose standard deviation is about 1.
CLOSE = 1e-4
GUIDANCE = 7.5


def asked(prompt: str, seed: int, **differing: Any) -> GenerationRequest:
    plain = {"width": SIDE, "height": SIDE, "steps": 4, "image": None, "strength": 0.8}
    return GenerationRequest(prompt=prompt, seed=seed, **{**plain, **differing})


def picture(seed: int, width: int = SIDE, height: int = SIDE) -> Pixels:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


REQUESTS = [
    asked("a cat on a chair", 3),
    asked("two red umbrellas " * 20, 4, steps=6),
    asked("a volcano", 5, image=picture(1)),
    asked("a lighthouse at night", 6, image=picture(2), strength=1.0, steps=3),
    asked("", 2**63 - 1),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("diffusion")
    return cache(lambda scheduler: tiny_stable_diffusion(root / scheduler, scheduler))


def opened(folder: Path, **options: Any) -> Diffusion:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return diffusion.load(
        Source(
            capability="Generator",
            card=card,
            weights=None,
            folder=folder,
            over={},
            place=place,
            options={"guidance": GUIDANCE, **options},
        )
    )


def by_diffusers(folder: Path, request: GenerationRequest, output: str) -> Any:
    kind = StableDiffusionPipeline if request.image is None else StableDiffusionImg2ImgPipeline
    pipeline: Any = kind.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    said: dict[str, Any] = {"width": request.width, "height": request.height}
    if request.image is not None:
        said = {"image": Image.fromarray(request.image), "strength": request.strength}
    return pipeline(
        request.prompt,
        num_inference_steps=request.steps,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(request.seed),
        output_type=output,
        **said,
    ).images


def painted(model: Diffusion, requests: Sequence[GenerationRequest]) -> list[LatentCanvas]:
    """Return the finished canvases of requests that join the batch one after the other, and leave it so."""
    canvases: list[Any] = []
    waiting = list(requests)
    while waiting or any(one.step < one.steps for one in canvases):
        if waiting:
            canvases += model.begin([waiting.pop(0)])
        moving = [one for one in canvases if one.step < one.steps]
        advanced = iter(model.advance(moving))
        canvases = [next(advanced) if one.step < one.steps else one for one in canvases]
    return canvases


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_mixed_batch_paints_what_diffusers_paints_alone(folders: Any, scheduler: str) -> None:
    folder = folders(scheduler)
    model = opened(folder)

    canvases = painted(model, REQUESTS)

    for request, canvas in zip(REQUESTS, canvases, strict=True):
        expected = by_diffusers(folder, request, "latent")
        torch.testing.assert_close(canvas.latents, expected, atol=CLOSE, rtol=CLOSE)


def test_the_pictures_are_those_of_diffusers_to_a_level(folders: Any) -> None:
    folder = folders("ddim")
    model = opened(folder)

    pictures = model.render(painted(model, REQUESTS))

    for request, pixels in zip(REQUESTS, pictures, strict=True):
        expected = (by_diffusers(folder, request, "np")[0] * 255).round()
        assert pixels.dtype == np.uint8
        assert np.abs(pixels - expected).max() <= 1
    assert len({one.tobytes() for one in pictures}) == len(pictures)


@pytest.mark.parametrize("size", [(48, 32), (24, 40)])
def test_a_picture_need_not_be_square_nor_of_the_best_size(folders: Any, size: tuple[int, int]) -> None:
    folder = folders("ddim")
    model = opened(folder)
    width, height = size
    requests = [
        asked("a cat", 3, width=width, height=height),
        asked("a cat", 3, width=width, height=height, image=picture(3, width, height)),
    ]

    canvases = painted(model, requests)

    for request, canvas, pixels in zip(requests, canvases, model.render(canvases), strict=True):
        assert pixels.shape == canvas.shape == (height, width, 3)
        expected = by_diffusers(folder, request, "latent")
        torch.testing.assert_close(canvas.latents, expected, atol=CLOSE, rtol=CLOSE)


def test_a_safety_checker_in_the_folder_is_obeyed(tmp_path: Path, folders: Any) -> None:
    prudish = opened(tiny_stable_diffusion(tmp_path, prudish=True))
    free = opened(folders("ddim"))

    (black,) = prudish.render(painted(prudish, REQUESTS[:1]))
    (shown,) = free.render(painted(free, REQUESTS[:1]))

    assert not black.any()
    assert shown.any()
