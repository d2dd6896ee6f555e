"""VGG16 and ResNet-18 as torchvision saves them: pictures to ImageNet-1k classes, or classes of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models import VGG16_Weights

from shared.errors import BadConfiguration, ModelUnavailable
from worker.media.views import View
from worker.models import checkpoints
from worker.models.capabilities import ImageFeatures, ModelCard, Pixels, RegionFeatures
from worker.models.finite import require_finite
from worker.models.networks.torchvision_cnn import ARCHITECTURES, Classifier
from worker.models.placing import card_at, dtype_of
from worker.models.sources import Source

#: As torchvision evaluates both: the shorter side to 256, of that 224.
_VIEW = View(width=224, height=224, fit="crop", resample="bilinear", crop_fraction=0.875)
#: 14 x 14 cells.
_REGION_VIEW = View(width=448, height=448, fit="stretch", resample="bilinear")
#: ImageNet's, of values in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class TorchvisionCnn:
    """An `ImageEncoder`, and a `LinearClassifier` that a joint space can be fitted on."""

    def __init__(self, card: ModelCard, network: Classifier, vocabulary: Sequence[str]) -> None:
        """Take over a network that is on its device.

        Args:
            card: what it says of itself.
            network: in evaluation mode.
            vocabulary: one name a class.
        """
        self._card = card
        self._network = network
        self._vocabulary = vocabulary
        self._device = torch.device(card.device)
        self._mean = torch.tensor(MEAN, device=self._device) * 255.0
        self._std = torch.tensor(STD, device=self._device) * 255.0

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return self._network.last.in_features

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
        self.encode_images([np.zeros((_VIEW.height, _VIEW.width, 3), dtype=np.uint8)])
        self.encode_regions([np.zeros((_REGION_VIEW.height, _REGION_VIEW.width, 3), dtype=np.uint8)])

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Pixels]) -> list[ImageFeatures]:
        """Return what the last layer takes, (4096,) of VGG16, (512,) of ResNet-18, and what it says."""
        if not images:
            return []
        return [
            ImageFeatures(pooled=row[: self.dim], probabilities=row[self.dim :])
            for row in self._with_probabilities(self._network.pooled(self._values(images)))
        ]

    @torch.inference_mode()
    def encode_regions(self, images: Sequence[Pixels]) -> list[RegionFeatures]:
        """Return the same of each cell of 32 x 32 pixels, as the networks' `grids` say it."""
        if not images:
            return []
        return [
            RegionFeatures(grid=grid[..., : self.dim], probabilities=grid[..., self.dim :])
            for grid in self._with_probabilities(self._network.grids(self._values(images)))
        ]

    def class_weights(self) -> NDArray[np.float32]:
        """Return the classifier's rows, float32 of shape (V, F)."""
        rows: NDArray[np.float32] = self._network.last.weight.float().cpu().numpy()
        return rows

    def _values(self, images: Sequence[Pixels]) -> torch.Tensor:
        """Return the batch as the network wants it; bytes travel, floats are made on the device."""
        shape = (len(images), *images[0].shape)
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        np.stack(images, out=batch.numpy())
        values = (batch.to(self._device, non_blocking=True).float() - self._mean) / self._std
        # From (N, H, W, 3) the permuted batch is channels-last already, the faster layout.
        return values.permute(0, 3, 1, 2).to(self._network.last.weight.dtype)

    def _with_probabilities(self, features: torch.Tensor) -> NDArray[np.float32]:
        """Return features and probabilities side by side along the last axis, fetched in one piece."""
        chances = self._network.last(features).float().softmax(dim=-1)
        rows: NDArray[np.float32] = torch.cat([features.float(), chances], dim=-1).cpu().numpy()
        require_finite(rows)
        return rows


def load(source: Source) -> TorchvisionCnn:
    """Load the encoder from a folder that holds torchvision's weights as `model.safetensors`.

    The names are torchvision's own, or those of timm, which publishes the same weights as safetensors.

    `architecture`, `vgg16` or `resnet18`, stands in the manifest's options or in the folder's `config.json`;
    `labels`, the names of the classes, stands there too where they are not ImageNet's 1000. Sizes are read
    from the weights.
    """
    folder = source.require_folder()
    config = {**checkpoints.said(folder, "config.json"), **source.options}
    architecture = str(config.get("architecture"))
    if architecture not in ARCHITECTURES:
        raise BadConfiguration(
            f"{source.card.id}: architecture {architecture} is none of {', '.join(ARCHITECTURES)}"
        )
    try:
        network = ARCHITECTURES[architecture](checkpoints.tensors(folder))
    except (KeyError, RuntimeError) as error:
        raise ModelUnavailable(
            f"{folder.name} does not hold the weights of {architecture}: {error}"
        ) from error
    dtype = dtype_of(source)
    card = card_at(source.card, dtype)
    network.eval().requires_grad_(False).to(card.device, dtype).to(memory_format=torch.channels_last)
    return TorchvisionCnn(card, network, _vocabulary(config, network.last.out_features))


def _vocabulary(config: dict[str, object], classes: int) -> Sequence[str]:
    imagenet: list[str] = VGG16_Weights.IMAGENET1K_V1.meta["categories"]
    names = config.get("labels", imagenet)
    if not isinstance(names, list) or len(names) != classes:
        raise BadConfiguration(f"the weights have {classes} classes; `labels` must name as many")
    return names
