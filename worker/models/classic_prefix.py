"""From image features to the first vectors that GPT-2 reads (Mokady et al. 2021, ClipCap's prefix)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import ModelUnavailable
from worker.models.cache import Tensors
from worker.models.capabilities import ImageFeatures
from worker.models.vectors import unit

#: Classes that speak for a picture, as `conse` has it (Norouzi et al. 2013, T = 10).
_TOP_CLASSES = 10
#: On class weights of unit length; `conse`'s, where it was chosen.
_RIDGE = 10.0


class Prefix(Protocol):
    """A projection into GPT-2's embedding space."""

    @property
    def length(self) -> int:
        """Return k, the vectors a picture becomes."""

    def project(self, features: Sequence[ImageFeatures]) -> torch.Tensor:
        """Return float32 of shape (N, k, E), on the CPU."""


class TrainedPrefix:
    """ClipCap's two layers with a tanh between, trained on pictures and their captions.

    Args:
        tensors: `0.weight` (H, F), `0.bias` (H,), `2.weight` (k * E, H), `2.bias` (k * E,): the names in
            `torch.nn.Sequential(Linear(F, H), Tanh(), Linear(H, k * E))`.
        dims: F and E.

    Raises:
        ModelUnavailable: a tensor is missing, or its shape does not fit the others and F and E.
    """

    def __init__(self, tensors: dict[str, torch.Tensor], dims: tuple[int, int]) -> None:
        features, embedded = dims
        try:
            first, second = tensors["0.weight"], tensors["2.weight"]
            layers = torch.nn.Sequential(
                torch.nn.Linear(features, len(first)),
                torch.nn.Tanh(),
                torch.nn.Linear(len(first), len(second)),
            )
            layers.load_state_dict(tensors)
        except (KeyError, RuntimeError) as error:
            raise ModelUnavailable(f"the prefix does not map {features} features: {error}") from error
        if len(second) % embedded:
            raise ModelUnavailable(f"the prefix gives {len(second)} values, no multiple of {embedded}")
        self._layers = layers.float().eval().requires_grad_(False)
        self._embedded = embedded
        self._length = len(second) // embedded

    @property
    def length(self) -> int:
        return self._length

    def project(self, features: Sequence[ImageFeatures]) -> torch.Tensor:
        pooled = torch.from_numpy(np.stack([one.pooled for one in features])).float()
        projected: torch.Tensor = self._layers(pooled).unflatten(1, (self.length, self._embedded))
        return projected


class FittedPrefix:
    """One vector, near the embedded names of what the picture shows: a guess that no caption has taught.

    The sum of two directions, as in `conse`: the mean of the top classes' names, weighted by probability, and
    a ridge map from image features. It gets the length that names have, around their mean.

    Args:
        maps: as `fit_prefix` returns them.
    """

    length = 1

    def __init__(self, maps: Tensors) -> None:
        self._mean = maps["mean"]
        self._names = maps["names"]
        self._ridge = maps["ridge"]
        self._spread = np.float32(np.linalg.norm(self._names, axis=-1).mean())

    def project(self, features: Sequence[ImageFeatures]) -> torch.Tensor:
        by_words = unit(np.stack([self._named(one.probabilities) for one in features]))
        by_ridge = unit(np.stack([one.pooled for one in features]) @ self._ridge)
        return torch.from_numpy(self._mean + self._spread * unit(by_words + by_ridge))[:, None]

    def _named(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        top = np.argsort(-probabilities, kind="stable")[:_TOP_CLASSES]
        named: NDArray[np.float32] = probabilities[top] @ self._names[top]
        return named


def fit_prefix(weights: NDArray[np.float32], names: NDArray[np.float32]) -> Tensors:
    """Return `FittedPrefix`'s maps.

    Args:
        weights: the image classifier's rows, (V, F).
        names: each class's name as GPT-2 embeds it, the mean over its tokens, (V, E).

    Returns:
        `mean` (E,): of the names; `names` (V, E): around their mean; `ridge` (F, E): from image features to
        unit vectors of the names around their mean.
    """
    mean = names.mean(axis=0)
    centred = names - mean
    rows = unit(weights - weights.mean(axis=0))
    # By the smaller Gram matrix, of classes or of features: VGG16 has 4096 features for 1000 classes.
    if len(rows) < rows.shape[1]:
        gram = rows @ rows.T + np.float32(_RIDGE) * np.eye(len(rows), dtype=np.float32)
        ridge = rows.T @ np.linalg.solve(gram, unit(centred))
    else:
        gram = rows.T @ rows + np.float32(_RIDGE) * np.eye(rows.shape[1], dtype=np.float32)
        ridge = np.linalg.solve(gram, rows.T @ unit(centred))
    return {"mean": mean, "names": centred, "ridge": ridge.astype(np.float32)}
