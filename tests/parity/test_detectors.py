"""Our detectors find what transformers' own processors and networks find."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoTokenizer,
    Owlv2Processor,
    OwlViTProcessor,
)

from tests.parity import tiny_detectors
from worker.models import owlv2, rt_detr
from worker.models.capabilities import Detection, DetectionRequest, ModelCard, Pixels
from worker.models.runtimes.network import Place
from worker.models.sources import Source

CLOSE = 1e-4
MANY = 1000
CLOSED = ["tiny_rt_detr", "tiny_rt_detr_v2", "tiny_detr"]
OPEN = ["tiny_owlv2", "tiny_owlvit"]
LABELS = ("cat", "space shuttle", "golden retriever")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("detectors")
    return cache(lambda kind: getattr(tiny_detectors, kind)(root / kind))


def source(capability: str, folder: Path, **options: Any) -> Source:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(
        capability=capability,
        card=card,
        weights=None,
        folder=folder,
        over={},
        place=place,
        options=options,
    )


def picture(seed: int, width: int, height: int) -> Pixels:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def asked(
    image: Pixels, labels: tuple[str, ...] = (), threshold: float | None = 0.0, most: int = MANY
) -> DetectionRequest:
    return DetectionRequest(image=image, labels=labels, threshold=threshold, max_objects=most)


def shapes(kind: str) -> list[tuple[int, int]]:
    """Return sizes that a view lets through as they are."""
    fixed = {"tiny_rt_detr": (64, 64), "tiny_rt_detr_v2": (64, 64), "tiny_owlvit": (48, 48)}
    free = {"tiny_detr": [(64, 40), (48, 60), (30, 20)], "tiny_owlv2": [(48, 48), (48, 30), (20, 48)]}
    return free.get(kind) or [fixed[kind]] * 3


def found_by_transformers(folder: Path, image: Pixels) -> Any:
    network: Any = AutoModelForObjectDetection.from_pretrained(folder).eval()
    processor: Any = AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        seen = network(**processor(images=image.copy(), return_tensors="pt"))
    answer = processor.post_process_object_detection(seen, threshold=0.0, target_sizes=[image.shape[:2]])
    labels = [network.config.id2label[index] for index in answer[0]["labels"].tolist()]
    return labels, answer[0]["scores"].numpy(), answer[0]["boxes"].numpy()


def found_by_owl(kind: str, folder: Path, image: Pixels, labels: Sequence[str]) -> Any:
    network: Any = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    join: Any = Owlv2Processor if kind == "tiny_owlv2" else OwlViTProcessor
    processor = join(AutoImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    texts = [f"a photo of a {label}" for label in labels]
    with torch.inference_mode():
        seen = network(**processor(text=[texts], images=image.copy(), truncation=True, return_tensors="pt"))
    (answer,) = processor.post_process_grounded_object_detection(
        seen, threshold=0.0, target_sizes=torch.tensor([image.shape[:2]]), text_labels=[list(labels)]
    )
    return answer["text_labels"], answer["scores"].numpy(), answer["boxes"].numpy()


def agree(found: Sequence[Detection], expected: Any, image: Pixels) -> None:
    """Demand the expected objects, cut at the picture's edges, and no other."""
    labels, scores, boxes = expected
    height, width, _ = image.shape
    shares = np.clip(boxes / np.array([width, height, width, height]), 0, 1)
    kept = (shares[:, 0] < shares[:, 2]) & (shares[:, 1] < shares[:, 3])
    order = np.argsort(-scores[kept], kind="stable")
    assert [one.label for one in found] == np.array(labels)[kept][order].tolist()
    np.testing.assert_allclose([one.score for one in found], scores[kept][order], atol=CLOSE)
    np.testing.assert_allclose([one.box for one in found], shares[kept][order], atol=CLOSE)


@pytest.mark.parametrize("kind", CLOSED)
def test_a_batch_of_all_shapes_finds_what_transformers_finds_alone(folders: Any, kind: str) -> None:
    model = rt_detr.load(source("Detector", folders(kind)))
    images = [picture(seed, *size) for seed, size in enumerate([*shapes(kind), *shapes(kind)])]

    found = model.detect([asked(image) for image in images])

    for image, objects in zip(images, found, strict=True):
        agree(objects, found_by_transformers(folders(kind), image), image)
    assert len({one.label for objects in found for one in objects}) > 1


@pytest.mark.parametrize("kind", OPEN)
def test_a_batch_of_any_number_of_labels_finds_what_transformers_finds_alone(folders: Any, kind: str) -> None:
    model = owlv2.load(source("OpenDetector", folders(kind)))
    images = [picture(seed, *size) for seed, size in enumerate(shapes(kind))]
    wanted = [LABELS, LABELS[1:2], (*LABELS, "a very long name " * 20)]

    found = model.find([asked(image, labels) for image, labels in zip(images, wanted, strict=True)])

    for image, labels, objects in zip(images, wanted, found, strict=True):
        agree(objects, found_by_owl(kind, folders(kind), image, labels), image)
        assert {one.label for one in objects} <= set(labels)
    assert len({one.label for objects in found for one in objects}) > 1
