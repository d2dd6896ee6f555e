"""What CLIP and the engine do when a GPU fails, on a double of one: `tests/gpu` shows it on a real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import ModelOutOfMemory, ModelUnavailable
from worker.engine import BatchLimits, Engine, Ticket
from worker.models import clip, clip_seeded, preprocessing
from worker.models.capabilities import ImageEncoder, JointEncoder, Pixels
from worker.models.clip import Clip
from worker.models.runtimes import sizes

TINY: dict[str, Any] = {
    "text": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    "vision": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    },
    "projection_dim": 8,
}
JOB = 16


class Device:
    """A network whose device has room for so many pictures at a time, and may break."""

    def __init__(self, network: Any, room: int) -> None:
        self._network = network
        self.room = room
        self.refusals = 0
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def get_image_features(self, pixel_values: torch.Tensor) -> Any:
        if self.broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        if len(pixel_values) > self.room:
            self.refusals += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self._network.get_image_features(pixel_values=pixel_values)


@pytest.fixture(scope="module")
def encoder() -> Clip:
    words = clip_seeded.tokenizer()
    return clip.from_config(clip_seeded.vit_b_32(words, **TINY), words, "cpu")


@pytest.fixture
def device(encoder: Clip, monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device(encoder._network, room=5)
    monkeypatch.setattr(encoder, "_network", device)
    return device


class Copies:
    """Stands in for the copies between host and GPU, which it counts and leaves undone."""

    def __init__(self, patch: pytest.MonkeyPatch, encoder: Clip) -> None:
        self.pinned = 0
        self.waited_for = 0
        self._gpu = torch.device("cuda:0")
        empty, to = torch.empty, torch.Tensor.to

        def pinned_empty(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
            self.pinned += pin_memory
            return empty(*shape, **options)

        def pin(tensor: torch.Tensor) -> torch.Tensor:
            self.pinned += 1
            return tensor

        def moved(tensor: torch.Tensor, *where: Any, non_blocking: bool = False, **options: Any) -> Any:
            if where and where[0] == self._gpu:
                self.waited_for += not non_blocking
                return tensor
            return to(tensor, *where, **options)

        patch.setattr(torch, "empty", pinned_empty)
        patch.setattr(torch.Tensor, "pin_memory", pin)
        patch.setattr(torch.Tensor, "to", moved)
        patch.setattr(encoder, "_device", self._gpu)


@pytest.fixture
def copies(encoder: Clip, monkeypatch: pytest.MonkeyPatch) -> Iterator[Copies]:
    yield Copies(monkeypatch, encoder)
    # What stayed on the CPU is remembered as the GPU's.
    preprocessing._scale.cache_clear()


@pytest.fixture
def fatal() -> list[Exception]:
    return []


@pytest.fixture
def engine(encoder: Clip, device: Device, fatal: list[Exception]) -> Any:
    limits = BatchLimits(max_items=4 * JOB, max_wait=timedelta(milliseconds=20))
    models = {"ImageEncoder": encoder, "JointEncoder": encoder}
    engine = Engine(models, device="cpu", limits=limits, on_fatal=fatal.append)
    engine.start()
    yield engine
    engine.close()


def pictures(count: int) -> list[Pixels]:
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(count)]


def run_jobs(engine: Engine, images: list[Pixels]) -> list[Any]:
    """Return the answers to jobs that run side by side, in order."""
    together = threading.Barrier(len(images) // JOB)

    def job(first: int) -> list[Any]:
        ticket = Ticket()
        with engine.enter(ticket):
            together.wait(20)
            return engine.map(ImageEncoder.encode_images, images[first : first + JOB], ticket=ticket)

    with ThreadPoolExecutor(len(images) // JOB) as threads:
        return [answer for answers in threads.map(job, range(0, len(images), JOB)) for answer in answers]


def test_out_of_memory_fails_no_job_and_teaches_the_safe_size(
    engine: Engine, encoder: Clip, device: Device
) -> None:
    images = pictures(4 * JOB)
    first = run_jobs(engine, images)
    learnt = device.refusals
    second = run_jobs(engine, images)

    assert learnt > 0
    assert device.refusals == learnt, "the safe size was not remembered"
    assert max(engine.stats().batches["ImageEncoder.encode_images"]) <= device.room
    device.room = len(images)
    for expected, one, other in zip(encoder.encode_images(images), first, second, strict=True):
        np.testing.assert_allclose(one.pooled, expected.pooled, atol=1e-4)
        np.testing.assert_allclose(other.pooled, expected.pooled, atol=1e-4)


def test_a_picture_that_does_not_fit_even_alone_fails_its_job_only(engine: Engine, device: Device) -> None:
    device.room = 0
    with pytest.raises(ModelOutOfMemory, match="does not fit into memory even alone"):
        engine.map(ImageEncoder.encode_images, pictures(3), ticket=Ticket())
    device.room = 5
    assert len(engine.map(ImageEncoder.encode_images, pictures(3), ticket=Ticket())) == 3


def test_texts_go_on_while_pictures_do_not_fit(engine: Engine, device: Device) -> None:
    device.room = 0
    with pytest.raises(ModelOutOfMemory):
        engine.map(ImageEncoder.encode_images, pictures(1), ticket=Ticket())
    assert len(engine.map(JointEncoder.embed_texts, ["a cat", "a dog"], ticket=Ticket())) == 2


def test_a_broken_device_ends_the_process_and_fails_what_waits(
    engine: Engine, device: Device, fatal: list[Exception]
) -> None:
    device.broken = True
    with pytest.raises(ModelUnavailable, match="device-side assert"):
        engine.map(ImageEncoder.encode_images, pictures(3), ticket=Ticket())
    assert len(fatal) == 1
    assert "device-side assert" in str(fatal[0].__cause__ or fatal[0])
    with pytest.raises(ModelUnavailable):
        engine.map(JointEncoder.embed_texts, ["a cat"], ticket=Ticket())


def test_what_goes_to_a_gpu_is_pinned_and_not_waited_for(encoder: Clip, copies: Copies) -> None:
    assert len(encoder.encode_images(pictures(3))) == 3
    assert (copies.pinned, copies.waited_for) == (1, 0)
    assert len(encoder.encode_regions(pictures(3))) == 3
    assert (copies.pinned, copies.waited_for) == (2, 0)
    assert len(encoder.embed_texts(["a cat", "a dog"])) == 2
    assert (copies.pinned, copies.waited_for) == (3, 0)


def test_warming_up_on_a_gpu_measures_each_operation_once(
    encoder: Clip, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def measured(operation: Any, batch: list[Any]) -> float:
        asked.append((operation.__name__, len(batch)))
        return 1.0

    monkeypatch.setattr(sizes, "seconds", measured)
    monkeypatch.setattr(encoder, "_batch_limits", {})
    encoder.warm_up()
    encoder.warm_up()
    operations = ("encode_images", "encode_regions", "embed_texts", "encode_texts")
    assert asked == [(operation, size) for operation in operations for size in (16, 32, 64, 128, 256)]
    assert encoder.batch_limits == dict.fromkeys(operations, 256)
