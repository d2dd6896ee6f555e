"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excite): pictures to ImageNet-1k classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from worker.media.views import View
from worker.models.cache import cached
from worker.models.capabilities import ImageFeatures, ModelCard, Pixels, RegionFeatures
from worker.models.finite import require_finite
from worker.models.runtimes.network import Answers, Batch, Network, Operation
from worker.models.runtimes.tuning import Tuning
from worker.models.sources import Source, card_of

if TYPE_CHECKING:
    import torch

#: Goes up whenever `networks.efficientnet_lite` computes something else from the same weights.
_VERSION = 1
_DIM = 1280
#: As the weights' authors evaluate them: 224 of 256 (`CROP_PADDING = 32` in tensorflow/tpu's efficientnet).
_VIEW = View(width=224, height=224, fit="crop", resample="bicubic", crop_fraction=0.875)
#: 10 x 10 cells. Measured on 120 pairs of photographs put side by side, with a text that names one of them:
#: its label comes first of ten in .90 at 224, .96 at 320, .95 at 448, .97 at 576; 448 has twice 320's pixels.
_REGION_VIEW = View(width=320, height=320, fit="stretch", resample="bicubic")


class EfficientNetLite:
    """An `ImageEncoder` that is `Tuned`, and a `LinearClassifier` that a joint space can be fitted on."""

    def __init__(
        self,
        card: ModelCard,
        *,
        images: Tuning,
        regions: Tuning,
        vocabulary: Sequence[str],
        class_weights: Callable[[], NDArray[np.float32]],
    ) -> None:
        self._card = card
        self._images = images
        self._regions = regions
        self._vocabulary = vocabulary
        self._class_weights = class_weights

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def dim(self) -> int:
        return _DIM

    @property
    def vocabulary(self) -> Sequence[str]:
        return self._vocabulary

    @property
    def view(self) -> View:
        return _VIEW

    @property
    def region_view(self) -> View:
        return _REGION_VIEW

    @property
    def batch_limits(self) -> Mapping[str, int]:
        return {"encode_images": self._images.batch, "encode_regions": self._regions.batch}

    def warm_up(self) -> None:
        self.encode_images([_black(_VIEW)] * self._images.batch)
        self.encode_regions([_black(_REGION_VIEW)] * self._regions.batch)

    def encode_images(self, images: Sequence[Pixels]) -> list[ImageFeatures]:
        """Return pooled features of shape (1280,) and 1000 probabilities per picture."""
        return [
            ImageFeatures(pooled=pooled, probabilities=probabilities)
            for pooled, probabilities in _each(self._images.network, images)
        ]

    def encode_regions(self, images: Sequence[Pixels]) -> list[RegionFeatures]:
        """Return the last feature map, one cell per 32 pixels, and the classifier applied to each cell."""
        return [
            RegionFeatures(grid=grid, probabilities=probabilities)
            for grid, probabilities in _each(self._regions.network, images)
        ]

    def class_weights(self) -> NDArray[np.float32]:
        """Return the classifier's rows, float32 of shape (1000, 1280), from the weight file."""
        return self._class_weights()


def load(source: Source) -> EfficientNetLite:
    """Load the encoder from its verified weight file, tensors only."""
    weights = source.require_weights()

    def tuned(name: str, kind: str, view: View, varying: tuple[int, ...]) -> Tuning:
        return source.tune(
            Operation(
                name=name,
                revision=source.card.revision,
                version=_VERSION,
                build=partial(_module, kind, weights),
                sample=partial(_sample, view),
                varying=(varying,),
            )
        )

    images = tuned("encode_images", "WholePictures", _VIEW, (0,))
    # A map has as many cells as the picture gives, so other sizes than the view's are taken as well.
    regions = tuned("encode_regions", "Cells", _REGION_VIEW, (0, 1, 2))
    return EfficientNetLite(
        card_of(source.card, images, regions),
        images=images,
        regions=regions,
        vocabulary=_vocabulary(source.place.cache_dir),
        class_weights=partial(_class_weights, weights),
    )


def _each(network: Network, images: Sequence[Pixels]) -> list[Answers]:
    if not images:
        return []
    outputs = network(np.stack(images))
    require_finite(*outputs)
    return list(zip(*outputs, strict=True))


def _module(kind: str, weights: Path) -> torch.nn.Module:
    from worker.models.networks import efficientnet_lite  # noqa: PLC0415  # torch: only where a network is built

    module: torch.nn.Module = getattr(efficientnet_lite, kind)(efficientnet_lite.network(weights))
    return module.eval()


def _class_weights(weights: Path) -> NDArray[np.float32]:
    from worker.models.networks import efficientnet_lite  # noqa: PLC0415  # as above

    rows: NDArray[np.float32] = efficientnet_lite.network(weights)._fc.weight.numpy()
    return rows


def _vocabulary(cache_dir: Path) -> list[str]:
    """Return the names of the classes; kept, because torchvision takes seconds to import."""

    def read() -> bytes:
        from torchvision.models import EfficientNet_B0_Weights  # noqa: PLC0415  # as above

        return json.dumps(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]).encode()

    names: list[str] = json.loads(cached(cache_dir, "imagenet", [version("torchvision")], read))
    return names


def _black(view: View) -> Pixels:
    return np.zeros((view.height, view.width, 3), dtype=np.uint8)


def _sample(view: View, items: int) -> Batch:
    """Return smooth colours with some noise on them: like photographs, they excite some features only."""
    random: Any = np.random.default_rng(items)
    colours = random.integers(0, 256, (items, 1, 1, 3))
    noise = random.normal(0, 20, (items, view.height, view.width, 3))
    return (np.clip(colours + noise, 0, 255).astype(np.uint8),)
