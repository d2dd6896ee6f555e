"""What happens in a film's short stretch: VideoMAE (Tong et al. 2022) or TimeSformer (Bertasius et al. 2021).

Both see a fixed number of frames at once, cut to their middle square, and give one score for each action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForVideoClassification

from worker.media.views import View
from worker.models import checkpoints
from worker.models.capabilities import ClipRequest, ModelCard
from worker.models.finite import require_finite
from worker.models.placing import card_at, dtype_of
from worker.models.preprocessing import Preprocessing, pixel_values, preprocessing
from worker.models.sources import Source


class VideoMae:
    """A `VideoClassifier`."""

    def __init__(self, card: ModelCard, network: Any, preprocessing: Preprocessing) -> None:
        """Take over a network that is on its device.

        Args:
            card: what it says of itself, the network's device and dtype included.
            network: of `AutoModelForVideoClassification`; takes (N, frames, 3, height, width).
            preprocessing: of each frame.
        """
        self._card = card
        self._network = network
        self._preprocessing = preprocessing
        self._device = torch.device(card.device)
        names: Mapping[int, str] = network.config.id2label
        self._vocabulary = [names[index] for index in sorted(names)]

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def frames(self) -> int:
        return int(self._network.config.num_frames)

    @property
    def view(self) -> View:
        return self._preprocessing.view

    @property
    def vocabulary(self) -> Sequence[str]:
        return self._vocabulary

    def warm_up(self) -> None:
        shape = (self.frames, self.view.height, self.view.width, 3)
        self.classify_clips([ClipRequest(frames=np.zeros(shape, dtype=np.uint8))])

    @torch.inference_mode()
    def classify_clips(self, clips: Sequence[ClipRequest]) -> list[NDArray[np.float32]]:
        """Return for each clip the probabilities of all actions, float32 of shape (V,)."""
        if not clips:
            return []
        frames = [frame for clip in clips for frame in clip.frames]
        pixels = pixel_values(frames, self._preprocessing, self._device, self._network.dtype)
        logits = self._network(pixels.reshape(len(clips), -1, *pixels.shape[1:])).logits
        probabilities: NDArray[np.float32] = logits.float().softmax(dim=-1).cpu().numpy()
        require_finite(probabilities)
        return list(probabilities)


def load(source: Source) -> VideoMae:
    """Return the classifier in the source's folder.

    Raises:
        ModelUnavailable: files are missing or broken, or the checkpoint is of another kind.
    """
    folder = checkpoints.folder_of(source)
    checkpoints.config(folder, "videomae", "timesformer")
    dtype = dtype_of(source)
    network = checkpoints.network(folder, AutoModelForVideoClassification, dtype, source.card.device)
    return VideoMae(card_at(source.card, dtype), network, preprocessing(folder))
