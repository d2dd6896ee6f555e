"""VGG16 and ResNet-18 of torchvision, built to the sizes of their weights: whole pictures and their cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch.nn.functional import conv2d, pad, relu
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import VGG, cfgs, make_layers

from shared.errors import BadConfiguration

State = Mapping[str, torch.Tensor]

_RESNET_18 = [2, 2, 2, 2]
#: What timm calls VGG16's last layers; its ResNet-18 has torchvision's names.
_TIMM = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}


class Classifier(Protocol):
    """A network whose last layer is linear. It takes normalised pixels, (N, 3, H, W)."""

    @property
    def last(self) -> torch.nn.Linear: ...

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what the last layer takes of each whole picture, (N, F)."""

    def grids(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what the last layer takes of each cell, one a 32 pixels: (N, H / 32, W / 32, F)."""


class Vgg16(torch.nn.Module):
    """VGG16 (Simonyan and Zisserman 2015); F is the width of its second fully connected layer, 4096.

    Args:
        state: as torchvision names it, or timm.
    """

    def __init__(self, state: State) -> None:
        super().__init__()
        state = _torchvision_state(state)
        features = _vgg_features(state)
        with torch.device("meta"):
            network = VGG(features, num_classes=1, init_weights=False)
            network.classifier[0] = _linear_like(state["classifier.0.weight"])
            network.classifier[3] = _linear_like(state["classifier.3.weight"])
            network.classifier[6] = _linear_like(state["classifier.6.weight"])
        network.load_state_dict(state, assign=True)
        self._network = network

    @property
    def last(self) -> torch.nn.Linear:
        layer: torch.nn.Linear = self._network.classifier[6]
        return layer

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        maps = self._network.avgpool(self._network.features(pixels))
        values: torch.Tensor = self._network.classifier[:6](maps.flatten(start_dim=1))
        return values

    def grids(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the fully connected layers applied to a window of 7 x 7 cells around each cell.

        That is the classifier as it was trained, moved over the picture as a convolution (Sermanet et al.
        2014). At the edges the outermost cells are repeated: zeros would look like a picture of nothing.
        """
        maps = self._network.features(pixels)
        first, second = self._network.classifier[0], self._network.classifier[3]
        windows = first.weight.unflatten(1, (maps.shape[1], 7, 7))
        cells = relu(conv2d(pad(maps, (3, 3, 3, 3), mode="replicate"), windows, first.bias))
        grids: torch.Tensor = relu(second(cells.permute(0, 2, 3, 1)))
        return grids


class Resnet18(torch.nn.Module):
    """ResNet-18 (He et al. 2016); F is 512.

    The last layer is linear and follows a mean over the cells, so its value in each cell is the class
    activation map (Zhou et al. 2016).
    """

    def __init__(self, state: State) -> None:
        super().__init__()
        with torch.device("meta"):
            network = ResNet(BasicBlock, _RESNET_18, num_classes=len(state["fc.weight"]))
        network.load_state_dict(state, assign=True)
        self._network = network

    @property
    def last(self) -> torch.nn.Linear:
        layer: torch.nn.Linear = self._network.fc
        return layer

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._maps(pixels).mean(dim=(2, 3))

    def grids(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._maps(pixels).permute(0, 2, 3, 1)

    def _maps(self, pixels: torch.Tensor) -> torch.Tensor:
        network = self._network
        maps = network.maxpool(network.relu(network.bn1(network.conv1(pixels))))
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            maps = stage(maps)
        last: torch.Tensor = maps
        return last


ARCHITECTURES: Mapping[str, type[Vgg16 | Resnet18]] = {"vgg16": Vgg16, "resnet18": Resnet18}


def vgg16_features(state: State) -> torch.nn.Sequential:
    """Return VGG16's convolutional part alone, with its weights.

    Raises:
        BadConfiguration: these are not the weights of 13 convolutions.
    """
    features = _vgg_features(state)
    prefix = "features."
    own = {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}
    features.load_state_dict(own, assign=True)
    return features.eval().requires_grad_(False)


def _torchvision_state(state: State) -> State:
    """Return VGG16's weights as torchvision has them; timm has the wide layers as convolutions."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        module, _, parameter = name.rpartition(".")
        matrix = tensor.flatten(start_dim=1) if module in _TIMM and tensor.dim() > 1 else tensor
        renamed[f"{_TIMM.get(module, module)}.{parameter}"] = matrix
    return renamed


def _vgg_features(state: State) -> torch.nn.Sequential:
    """Return the layers without weights, each as wide as its weights are: a narrow VGG16 is one as well."""
    names = [name.split(".") for name in state]
    numbers = sorted(int(name[1]) for name in names if name[0] == "features" and name[2] == "weight")
    widths = [state[f"features.{number}.weight"].shape[0] for number in numbers]
    convolutions = [layer for layer in cfgs["D"] if layer != "M"]
    if len(widths) != len(convolutions):
        raise BadConfiguration(
            f"VGG16 has {len(convolutions)} convolutions; these weights have {len(widths)}"
        )
    remaining = iter(widths)
    with torch.device("meta"):
        layers: torch.nn.Sequential = make_layers(
            [layer if layer == "M" else next(remaining) for layer in cfgs["D"]]
        )
    return layers


def _linear_like(weight: torch.Tensor) -> torch.nn.Linear:
    outputs, inputs = weight.shape
    return torch.nn.Linear(inputs, outputs)
