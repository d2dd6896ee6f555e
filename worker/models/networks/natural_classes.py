"""EfficientNet-Lite0 as a judge of pictures in the making: what it sees, and how natural they look to it."""

from __future__ import annotations

from typing import Any

import torch
from efficientnet_lite_pytorch import EfficientNet

#: Under the variances that gaps are divided by: some channels hardly vary.
_LEAST_VARIANCE = 1e-3


class NaturalClasses(torch.nn.Module):
    """Pictures (N, 3, H, W) in [0, 1] to logits (N, V), and how far their features are from photographs'.

    The second is the prior of DeepInversion (Yin et al. 2020, "Dreaming to Distill"): in each normalisation
    layer, the mean and the deviation of the features against those that the network met in training.
    """

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self._network = network
        self._gaps: list[torch.Tensor] = []
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.register_forward_hook(self._measure)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits, and the gaps of all layers added up, over all pictures together."""
        self._gaps.clear()
        maps: torch.Tensor = self._network.extract_features((pictures * 255.0 - 127.0) / 128.0)
        logits: torch.Tensor = self._network._fc(maps.mean(dim=(2, 3)))
        gap = torch.stack(self._gaps).sum()
        self._gaps.clear()
        return logits, gap

    def _measure(self, layer: torch.nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        usual_mean, usual_variance = layer.running_mean, layer.running_var
        if usual_mean is None or usual_variance is None:
            return
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        usual = usual_variance + _LEAST_VARIANCE
        off = (mean - usual_mean).square() / usual
        spread = ((variance + _LEAST_VARIANCE).sqrt() - usual.sqrt()).square() / usual
        self._gaps.append(off.mean() + spread.mean())
