"""What the pictures of a checkpoint were like when it was trained: their view, and their pixel values."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoImageProcessor

from shared.errors import ModelUnavailable
from worker.media.views import View
from worker.models.capabilities import Pixels
from worker.models.checkpoints import LOCAL

#: As Pillow numbers them; View has no others, and bicubic is nearest to them.
_RESAMPLE: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """How a picture becomes a network's input: `(pixel * rescale - mean) / std` in each channel."""

    view: View
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float = 1 / 255


def preprocessing(folder: Path) -> Preprocessing:
    """Return what the checkpoint's `preprocessor_config.json`, or `processor_config.json`, says of pictures.

    Sizes are read in every form that transformers has written:

    - height and width, or one number without a crop: the whole picture, `stretch`;
    - the shorter side and a crop: `crop`, keeping `crop / shorter` of the covering picture's side;
    - the shorter side alone: `crop`, all of it kept, for a batch needs one shape;
    - the longer side, alone or with the shorter: `inside` a square of it.

    Raises:
        ModelUnavailable: the file is missing or broken, or names no size.
    """
    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, **LOCAL)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ModelUnavailable(
            f"preprocessor_config.json of the checkpoint in {folder.name} cannot be read: {error}"
        ) from error
    return preprocessing_of(processor)


def preprocessing_of(processor: Any) -> Preprocessing:
    """Return what an image processor of transformers does to pictures."""
    normalised = bool(processor.do_normalize)
    return Preprocessing(
        view=_view(processor),
        mean=tuple(processor.image_mean) if normalised else (0.0,) * 3,
        std=tuple(processor.image_std) if normalised else (1.0,) * 3,
        rescale=float(processor.rescale_factor) if processor.do_rescale else 1.0,
    )


def pixel_values(
    images: Sequence[Pixels], preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return pictures of one shape as a network takes them, (N, 3, height, width) on its device.

    Bytes travel, a quarter of the floats; those are made on the device.
    """
    shape = (len(images), *images[0].shape)
    batch = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    np.stack(images, out=batch.numpy())
    mean, std = _scale(preprocessing, device)
    values = (batch.to(device, non_blocking=True).float() - mean) / std
    return values.permute(0, 3, 1, 2).to(dtype)


@functools.lru_cache(maxsize=64)
def _scale(preprocessing: Preprocessing, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and deviation in pixels' own units, on the device for good."""
    # Ordinary tensors whoever asks first, so that gradients may pass them too.
    with torch.inference_mode(False):
        mean, std = (
            (torch.tensor(values) / preprocessing.rescale).to(device, non_blocking=True)
            for values in (preprocessing.mean, preprocessing.std)
        )
    return mean, std


def _view(processor: Any) -> View:
    size, crop = processor.size, getattr(processor, "crop_size", None)
    resample = _RESAMPLE.get(int(processor.resample), "bicubic")
    if crop and getattr(processor, "do_center_crop", False):
        kept, covering = _width_and_height(crop), _shorter(size)
        share = min(1.0, min(kept) / covering) if covering else 1.0
        return View(width=kept[0], height=kept[1], fit="crop", resample=resample, crop_fraction=share)
    if longest := size.get("longest_edge"):
        return View(width=longest, height=longest, fit="inside", resample=resample)
    width, height = _width_and_height(size)
    fit: Literal["crop", "stretch"] = "stretch" if size.get("height") else "crop"
    return View(width=width, height=height, fit=fit, resample=resample)


def _width_and_height(size: Any) -> tuple[int, int]:
    sides = size.get("width") or size.get("shortest_edge"), size.get("height") or size.get("shortest_edge")
    if not all(sides):
        raise ModelUnavailable(f"the checkpoint's preprocessor names no size that is known: {size}")
    return sides


def _shorter(size: Any) -> int | None:
    sides = [side for side in (size.get("shortest_edge"), size.get("height"), size.get("width")) if side]
    return min(sides) if sides else None
