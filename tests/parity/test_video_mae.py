"""Our video classifier sees in a clip what transformers' own processor and network see in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoImageProcessor, AutoModelForVideoClassification

from tests.parity import tiny_films
from worker.models import video_mae
from worker.models.capabilities import ClipRequest, ModelCard, VideoClassifier
from worker.models.runtimes.network import Place
from worker.models.sources import Source
from worker.models.video_mae import VideoMae

CLOSE = 1e-4


def opened(folder: Path) -> VideoMae:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return video_mae.load(
        Source(capability="VideoClassifier", card=card, weights=None, folder=folder, over={}, place=place)
    )


def film(seed: int, frames: int, side: int) -> NDArray[np.uint8]:
    """Return a film of coloured squares, of which each frame is another."""
    coarse = np.random.default_rng(seed).integers(0, 256, (frames, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2)


def seen_by_transformers(folder: Path, frames: NDArray[np.uint8]) -> Any:
    network: Any = AutoModelForVideoClassification.from_pretrained(folder).eval()
    processor: Any = AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        logits = network(**processor(list(frames), return_tensors="pt")).logits
    return logits.softmax(dim=-1)[0].numpy()


@pytest.mark.parametrize("kind", ["tiny_video_mae", "tiny_timesformer"])
def test_a_batch_of_clips_is_seen_as_transformers_sees_each(tmp_path: Path, kind: str) -> None:
    folder = getattr(tiny_films, kind)(tmp_path)
    model = opened(folder)
    films = [film(seed, model.frames, model.view.height) for seed in range(3)]

    together = model.classify_clips([ClipRequest(frames=frames) for frames in films])

    for frames, answer in zip(films, together, strict=True):
        np.testing.assert_allclose(answer, seen_by_transformers(folder, frames), atol=CLOSE)
        (alone,) = model.classify_clips([ClipRequest(frames=frames)])
        np.testing.assert_allclose(answer, alone, atol=CLOSE)
        assert answer.sum() == pytest.approx(1)
    assert np.ptp(np.stack(together), axis=0).max() > 100 * CLOSE


def test_it_says_what_it_takes_and_what_it_knows(tmp_path: Path) -> None:
    model = opened(tiny_films.tiny_video_mae(tmp_path))

    assert isinstance(model, VideoClassifier)
    assert model.frames == tiny_films.FRAMES
    assert (model.view.width, model.view.height, model.view.fit) == (32, 32, "crop")
    assert model.vocabulary == list(tiny_films.ACTIONS.values())
    assert model.classify_clips([]) == []
    model.warm_up()
