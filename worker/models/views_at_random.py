"""Views of one picture at random: what an optimiser is to please is in the picture, not in its exact pixels.

The transformations of Olah et al. 2017, "Feature Visualization" (Distill), jitter, scale and rotation, and a
mirror.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

#: The first is of nearly the whole picture, the others of parts of it.
_VIEWS = 2
#: The side of a view, as a share of the picture's shorter one.
_WHOLE = (0.95, 1.05)
_PART = (0.4, 1.1)
#: To either side.
_DEGREES = 8.0
#: Shares of the picture that a view may slide out of it, where it leaves no room.
_SLIDE = 0.04
#: What the image encoder was trained on.
_SIDE = 224


def views(picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return views of a picture (3, height, width), float32 of shape (views, 3, side, side)."""
    chosen = torch.rand((_VIEWS, 5), generator=generator)
    shares = torch.cat([_between(_WHOLE, chosen[:1, 0]), _between(_PART, chosen[1:, 0])])
    grid = functional.affine_grid(
        _placed(shares, chosen, picture).to(picture.device), [_VIEWS, 3, _SIDE, _SIDE], align_corners=False
    )
    pictures = picture[None].expand(_VIEWS, -1, -1, -1)
    return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _placed(shares: torch.Tensor, chosen: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """Return the matrices from a view's coordinates to the picture's, shape (views, 2, 3)."""
    _, height, width = picture.shape
    across, down = shares * min(height, width) / width, shares * min(height, width) / height
    angles = (chosen[:, 1] * 2 - 1) * math.radians(_DEGREES)
    right = (chosen[:, 2] * 2 - 1) * (1 - across).clamp(min=_SLIDE)
    below = (chosen[:, 3] * 2 - 1) * (1 - down).clamp(min=_SLIDE)
    mirror = torch.where(chosen[:, 4] < 0.5, -1.0, 1.0)
    rows = (
        torch.stack([across * angles.cos() * mirror, -across * angles.sin(), right], dim=1),
        torch.stack([down * angles.sin() * mirror, down * angles.cos(), below], dim=1),
    )
    return torch.stack(rows, dim=1)


def _between(bounds: tuple[float, float], chosen: torch.Tensor) -> torch.Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * chosen
