"""EfficientNet-Lite0 from pixels to probabilities, one module for whole pictures and one for their cells."""

from __future__ import annotations

from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet


class WholePictures(torch.nn.Module):
    """uint8 (N, H, W, 3) to features (N, F) and probabilities (N, V)."""

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self._network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = _feature_maps(self._network, pixels).mean(dim=(2, 3))
        return pooled, self._network._fc(pooled).softmax(dim=-1)


class Cells(torch.nn.Module):
    """uint8 (N, H, W, 3) to features (N, H / 32, W / 32, F) and probabilities (N, H / 32, W / 32, V).

    The classifier is linear and follows a mean over the cells, so its value in each cell is the class
    activation map (Zhou et al. 2016).
    """

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self._network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grids = _feature_maps(self._network, pixels).permute(0, 2, 3, 1).contiguous()
        return grids, self._network._fc(grids).softmax(dim=-1)


def network(weights: Path) -> EfficientNet:
    """Return the network with its weights, read as tensors only."""
    built = EfficientNet.from_name("efficientnet-lite0")
    built.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    # The faster layout, on CPUs and GPUs alike.
    return built.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _feature_maps(network: EfficientNet, pixels: torch.Tensor) -> torch.Tensor:
    # From (N, H, W, 3) the permuted batch is channels-last already.
    maps: torch.Tensor = network.extract_features((pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0)
    return maps
