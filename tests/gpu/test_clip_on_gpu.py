"""CLIP of ViT-B/32's size through the real engine, on a real device."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from worker.engine import BatchLimits, Engine, Ticket
from worker.models import clip, clip_seeded
from worker.models.capabilities import ImageEncoder, JointEncoder, Pixels
from worker.models.clip import Clip

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU; torch sees none"),
    pytest.mark.timeout(300),
]

DEVICE = "cuda:0"
JOB = 64
MIB = 2**20


def clip_b_32(device: str) -> Clip:
    words = clip_seeded.tokenizer()
    return clip.from_config(clip_seeded.vit_b_32(words), words, device)


def pictures(count: int, seed: int = 3) -> list[Pixels]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(count)]


def captions(count: int) -> list[str]:
    return [f"a photo of a cat and {'many dogs ' * (number % 9)}number {number}" for number in range(count)]


def engine_around(model: Clip, max_items: int) -> Engine:
    limits = BatchLimits(max_items=max_items, max_wait=timedelta(milliseconds=50))
    engine = Engine({"ImageEncoder": model, "JointEncoder": model}, device=DEVICE, limits=limits)
    engine.start()
    return engine


def run_jobs(engine: Engine, operation: Any, items: list[Any]) -> list[Any]:
    """Return the answers to jobs of 64 items that run side by side, in order."""

    def job(first: int) -> list[Any]:
        ticket = Ticket()
        with engine.enter(ticket):
            return engine.map(operation, items[first : first + JOB], ticket=ticket)

    firsts = range(0, len(items), JOB)
    with ThreadPoolExecutor(len(firsts)) as threads:
        return [answer for answers in threads.map(job, firsts) for answer in answers]


@pytest.fixture(scope="module")
def loaded() -> Clip:
    return clip_b_32(DEVICE)


@pytest.fixture
def model(loaded: Clip) -> Clip:
    """Without batch sizes of its own, which another test may have had it measure."""
    loaded._batch_limits.clear()
    return loaded


@pytest.fixture
def capped() -> Iterator[None]:
    """Leave the process some memory beside what it holds: 256 pictures need twice that, 8 a part of it."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(0) + 256 * MIB) / total, 0)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, 0)
    torch.cuda.empty_cache()


def ooms() -> int:
    return int(torch.cuda.memory_stats(0)["num_ooms"])


def test_in_bf16_it_answers_through_the_engine_as_in_float32_on_a_cpu(model: Clip) -> None:
    assert (model.card.device, model.card.dtype) == (DEVICE, "bfloat16")
    reference = clip_b_32("cpu")
    engine = engine_around(model, 256)
    images, texts = pictures(4 * JOB), captions(4 * JOB)
    try:
        seen = run_jobs(engine, ImageEncoder.encode_images, images)
        read = run_jobs(engine, JointEncoder.embed_texts, texts)
    finally:
        engine.close()
    some = range(0, 4 * JOB, 16)
    expected = reference.project_images(reference.encode_images([images[place] for place in some]))
    found = model.project_images([seen[place] for place in some])
    assert (np.stack(found) * np.stack(expected)).sum(axis=-1).min() > 0.99
    expected_texts = reference.embed_texts([texts[place] for place in some])
    assert (np.stack([read[place] for place in some]) * np.stack(expected_texts)).sum(axis=-1).min() > 0.99
    assert max(engine.stats().batches["ImageEncoder.encode_images"]) > JOB, "jobs share batches"


def test_regions_have_a_cell_for_each_patch(model: Clip) -> None:
    (regions,) = model.encode_regions(pictures(1))
    assert regions.grid.shape == (7, 7, 512)
    np.testing.assert_allclose(regions.probabilities.sum(axis=-1), 1, atol=1e-3)


def test_warming_up_finds_batch_sizes(model: Clip) -> None:
    model.warm_up()
    assert set(model.batch_limits) == {"encode_images", "encode_regions", "encode_texts", "embed_texts"}
    assert min(model.batch_limits.values()) > 1


def test_out_of_memory_fails_no_job_and_teaches_the_safe_size(model: Clip, capped: None) -> None:
    engine = engine_around(model, 256)
    images = pictures(8 * JOB)
    try:
        before = ooms()
        first = run_jobs(engine, ImageEncoder.encode_images, images)
        learnt = ooms()
        second = run_jobs(engine, ImageEncoder.encode_images, images)
        again = ooms()
    finally:
        engine.close()
    assert learnt > before, "the cap was never felt, so this shows nothing"
    assert again == learnt, "the safe size was not remembered"
    assert len(first) == len(second) == len(images)
    cosines = [
        float(a @ b) for a, b in zip(model.project_images(first), model.project_images(second), strict=True)
    ]
    assert min(cosines) > 0.99
    assert max(engine.stats().batches["ImageEncoder.encode_images"]) < 256


def test_two_processes_share_one_device() -> None:
    code = "from tests.gpu.test_clip_on_gpu import encode_in_a_process; encode_in_a_process()"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=250) for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors
    one, other = (np.array(json.loads(output.splitlines()[-1])) for output, _ in said)
    assert one.shape == (JOB, 512)
    assert (one * other).sum(axis=-1).min() > 0.99


def encode_in_a_process() -> None:
    """Embed 512 pictures through an engine of this process's own, and print the first vectors."""
    model = clip_b_32(DEVICE)
    engine = engine_around(model, 128)
    try:
        answers = run_jobs(engine, ImageEncoder.encode_images, pictures(8 * JOB))
    finally:
        engine.close()
    print(json.dumps([vector.tolist() for vector in model.project_images(answers[:JOB])]))  # noqa: T201
