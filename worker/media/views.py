"""How a picture is to be shown to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How a model wants to see a picture; the decode children make it so."""

    width: int
    height: int
    #: `crop`: cover the frame, cut what sticks out; `stretch`: the whole picture, aspect ratio given up.
    fit: Literal["crop", "stretch"] = "crop"
    resample: Literal["bilinear", "bicubic"] = "bicubic"
    #: For `crop`: the share of the covering picture's side that the frame keeps (224 of 256: 0.875).
    crop_fraction: float = 1.0
