"""What VGG16's convolutions see of a picture, and how far that is from what they should see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool2d

#: Of the ImageNet's pictures, of values in [0, 1].
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
#: Convolutions of VGG16 by their places in torchvision's `features`.
_CONTENT = 19  # conv4_2
_STYLE = (0, 5, 10, 17, 24)  # conv1_1, conv2_1, conv3_1, conv4_1, conv5_1
_DEEPEST = max(_STYLE)


@dataclass(frozen=True, slots=True)
class Responses:
    """Of a batch of pictures."""

    #: conv4_2's responses, (N, C, h, w).
    content: torch.Tensor
    #: The five layers' Gram matrices, each (N, C, C), the mean product over the places.
    style: tuple[torch.Tensor, ...]


class Perception(torch.nn.Module):
    """Pictures (N, 3, H, W) in [0, 1], of any size, to their responses after each ReLU.

    Pools by the mean, as Gatys et al. 2016 do, who find that it looks better than the maximum.

    Args:
        features: VGG16's convolutional part; what follows conv5_1 is left out.
    """

    def __init__(self, features: torch.nn.Sequential) -> None:
        super().__init__()
        self._layers = features[: _DEEPEST + 1]

    def forward(self, pixels: torch.Tensor) -> Responses:
        mean, std = (pixels.new_tensor(one)[:, None, None] for one in (_MEAN, _STD))
        values = (pixels - mean) / std
        content = values
        style = []
        for place, layer in enumerate(self._layers):
            if isinstance(layer, torch.nn.MaxPool2d):
                # Rounded up, so that no picture is too small.
                values = avg_pool2d(values, 2, ceil_mode=True)
            elif isinstance(layer, torch.nn.Conv2d):
                values = layer(values).relu()
            if place == _CONTENT:
                content = values
            if place in _STYLE:
                style.append(gram(values))
        return Responses(content, tuple(style))


def gram(maps: torch.Tensor) -> torch.Tensor:
    """Return how the channels respond together, the mean over the places: (N, C, H, W) to (N, C, C)."""
    rows = maps.flatten(start_dim=2)
    return rows @ rows.transpose(1, 2) / rows.shape[2]


def distance(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the squared distance in shares of the wanted one's square, (N, ...) to (N,)."""
    axes = tuple(range(1, wanted.dim()))
    return (found - wanted).square().sum(dim=axes) / wanted.square().sum(dim=axes).clamp(min=1e-12)


def variation(pixels: torch.Tensor) -> torch.Tensor:
    """Return the squared differences of neighbours, a pixel's share of them: (N, 3, H, W) to (N,)."""
    down = (pixels[:, :, 1:] - pixels[:, :, :-1]).square().sum(dim=(1, 2, 3))
    across = (pixels[:, :, :, 1:] - pixels[:, :, :, :-1]).square().sum(dim=(1, 2, 3))
    return (down + across) / (pixels.shape[2] * pixels.shape[3])
