"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excite): pictures to ImageNet-1k classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from torchvision.models import EfficientNet_B0_Weights

from worker.media.views import View
from worker.models.capabilities import ImageFeatures, ModelCard, Pixels, RegionFeatures
from worker.models.sources import Source

#: As the weights' authors evaluate them: 224 of 256 (`CROP_PADDING = 32` in tensorflow/tpu's efficientnet).
_VIEW = View(width=224, height=224, fit="crop", resample="bicubic", crop_fraction=0.875)
#: 10 x 10 cells. Measured on 120 pairs of photographs put side by side, with a text that names one of them:
#: its label comes first of ten in .90 at 224, .96 at 320, .95 at 448, .97 at 576; 448 has twice 320's pixels.
_REGION_VIEW = View(width=320, height=320, fit="stretch", resample="bicubic")


class EfficientNetLite:
    """An `ImageEncoder`, and a `LinearClassifier` that a joint space can be fitted on."""

    def __init__(self, card: ModelCard, network: EfficientNet) -> None:
        self._card = card
        self._network = network
        self._vocabulary: list[str] = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return int(self._network._fc.in_features)

    @property
    def vocabulary(self) -> Sequence[str]:
        return self._vocabulary

    @property
    def view(self) -> View:
        return _VIEW

    @property
    def region_view(self) -> View:
        return _REGION_VIEW

    def warm_up(self) -> None:
        self.encode_images([_black(_VIEW)])
        self.encode_regions([_black(_REGION_VIEW)])

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Pixels]) -> list[ImageFeatures]:
        """Return pooled features of shape (1280,) and 1000 probabilities per picture."""
        if not images:
            return []
        pooled = self._feature_maps(images).mean(dim=(2, 3))
        probabilities = self._network._fc(pooled).softmax(dim=-1)
        return [
            ImageFeatures(pooled=one, probabilities=chances)
            for one, chances in zip(_on_cpu(pooled), _on_cpu(probabilities), strict=True)
        ]

    @torch.inference_mode()
    def encode_regions(self, images: Sequence[Pixels]) -> list[RegionFeatures]:
        """Return the last feature map, one cell per 32 pixels, and the classifier applied to each cell.

        The classifier is linear and follows a mean over the cells, so its value in each cell is the class
        activation map (Zhou et al. 2016).
        """
        if not images:
            return []
        grids = self._feature_maps(images).permute(0, 2, 3, 1).contiguous()
        probabilities = self._network._fc(grids).softmax(dim=-1)
        return [
            RegionFeatures(grid=grid, probabilities=chances)
            for grid, chances in zip(_on_cpu(grids), _on_cpu(probabilities), strict=True)
        ]

    @property
    def class_weights(self) -> NDArray[np.float32]:
        """Return the classifier's rows, float32 of shape (1000, 1280)."""
        return _on_cpu(self._network._fc.weight)

    def _feature_maps(self, images: Sequence[Pixels]) -> torch.Tensor:
        batch = torch.from_numpy(np.stack(images)).to(self._card.device).permute(0, 3, 1, 2)
        # From (N, H, W, 3) the permuted batch is channels-last already, which is the faster layout on CPUs.
        maps: torch.Tensor = self._network.extract_features((batch.float() - 127.0) / 128.0)
        return maps


def load(source: Source) -> EfficientNetLite:
    """Load the encoder from its verified weight file, tensors only."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(source.require_weights(), map_location="cpu", weights_only=True))
    network = network.eval().requires_grad_(False)
    return EfficientNetLite(source.card, network.to(source.card.device, memory_format=torch.channels_last))


def _black(view: View) -> Pixels:
    return np.zeros((view.height, view.width, 3), dtype=np.uint8)


def _on_cpu(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()
