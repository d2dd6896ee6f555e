"""What the detector promises beyond parity: thresholds, an order, a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import ModelFailed, ModelUnavailable
from tests.parity.tiny_detectors import LABELS, tiny_detr, tiny_rt_detr
from worker.engine.items import bucket
from worker.models import rt_detr
from worker.models.capabilities import DetectionRequest, Detector, ModelCard
from worker.models.rt_detr import RtDetr
from worker.models.runtimes.network import Place
from worker.models.sources import Source

MANY = 1000


def opened(folder: Path, dtype: str | None = None, **options: Any) -> RtDetr:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="")
    place = Place(device="cpu", threads=1, cache_dir=folder)
    kept = {"weights": None, "over": {}, "place": place, "dtype": dtype, "options": options}
    return rt_detr.load(Source(capability="Detector", card=card, folder=folder, **kept))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_rt_detr(tmp_path_factory.mktemp("rt_detr"))


@pytest.fixture(scope="module")
def model(folder: Path) -> RtDetr:
    return opened(folder)


def asked(threshold: float | None = 0.0, most: int = MANY, side: int = 64) -> DetectionRequest:
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return DetectionRequest(image=image, labels=(), threshold=threshold, max_objects=most)


def scores(found: Any) -> list[float]:
    return [one.score for one in found]


def test_each_request_has_its_own_threshold_and_number_of_objects(model: RtDetr) -> None:
    (all_of_them,) = model.detect([asked()])
    middle = all_of_them[len(all_of_them) // 2].score

    sure, few = model.detect([asked(middle), asked(most=3)])

    assert scores(all_of_them) == sorted(scores(all_of_them), reverse=True)
    assert scores(sure) == pytest.approx([one for one in scores(all_of_them) if one >= middle])
    assert scores(few) == pytest.approx(scores(all_of_them)[:3])


def test_a_request_without_a_threshold_has_the_models_own(folder: Path, model: RtDetr) -> None:
    (all_of_them,) = model.detect([asked()])
    middle = all_of_them[len(all_of_them) // 2].score

    (found,) = opened(folder, threshold=middle).detect([asked(None)])
    (usual,) = model.detect([asked(None)])

    assert 0 < len(found) < len(all_of_them)
    assert min(scores(found)) >= middle
    assert scores(usual) == pytest.approx([one for one in scores(all_of_them) if one >= 0.5])


def test_requests_with_a_threshold_and_without_share_a_batch(model: RtDetr) -> None:
    requests = [asked(0.2), asked(None)]

    assert len({bucket(one) for one in requests}) == 2
    assert len({bucket(one) for one in model.prepare("detect", requests)}) == 1


def test_it_says_what_it_takes_and_what_it_knows(model: RtDetr) -> None:
    assert isinstance(model, Detector)
    assert (model.view.fit, model.view.width, model.view.height) == ("stretch", 64, 64)
    assert list(model.vocabulary) == list(LABELS.values())
    assert model.card.dtype == "float32"
    assert model.detect([]) == []
    model.warm_up()


def test_a_kind_that_keeps_the_shape_takes_the_picture_inside(tmp_path: Path) -> None:
    model = opened(tiny_detr(tmp_path))

    assert (model.view.fit, model.view.width, model.view.height) == ("inside", 64, 64)
    model.warm_up()


def test_its_precision_is_the_manifests(folder: Path) -> None:
    assert opened(folder, dtype="bfloat16").card.dtype == "bfloat16"


def test_numbers_that_are_not_finite_are_refused(folder: Path) -> None:
    broken = opened(folder)
    for weights in broken._network.parameters():
        weights.data = torch.full_like(weights, float("nan"))

    with pytest.raises(ModelFailed, match="not finite"):
        broken.detect([asked()])


def test_an_empty_folder_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable):
        opened(tmp_path)
