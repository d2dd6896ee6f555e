"""One bad item fails one job, whatever stands beside it in the batch."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from client import Client, Job
from worker.models.fake import POISON


def cut_off(photo: bytes) -> bytes:
    """Return a picture whose header is sound and whose pixels end half-way."""
    return photo[: len(photo) // 2]


def noise() -> bytes:
    """Return a PNG that does not compress, so that half of it is not all of its pixels."""
    out = io.BytesIO()
    Image.effect_noise((320, 240), 80).convert("RGB").save(out, "png")
    return out.getvalue()


def poisoned() -> bytes:
    """Return a picture that the stand-in model fails on, with all its batch."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), POISON).save(out, "png")
    return out.getvalue()


@pytest.mark.parametrize("bad", ["cut off", "poisoned"])
def test_a_bad_picture_fails_its_own_job_with_a_code_and_no_neighbour(
    client: Client, photos: dict[str, Path], bad: str
) -> None:
    picture = cut_off(noise()) if bad == "cut off" else poisoned()
    pictures = [photos["red"].read_bytes()] * 15
    pictures.insert(7, picture)
    # It holds the device while the others gather behind it.
    client.submit("embed", texts=["fake:sleep=0.5 red"])

    def run(picture: bytes) -> Job:
        return client.watch(client.submit("embed", {"images": [picture]}).id, 60)

    with ThreadPoolExecutor(16) as threads:
        jobs = list(threads.map(run, pictures))

    guilty = jobs.pop(7)
    assert guilty.status == "failed"
    assert guilty.error is not None
    assert guilty.error.code == ("image_corrupt" if bad == "cut off" else "model_failed")
    assert [(job.status, job.attempt) for job in jobs] == [("succeeded", 1)] * 15
    assert max(job.batch["size"] for job in jobs if job.batch) > 1


def test_one_bad_picture_of_several_is_named(client: Client, photos: dict[str, Path]) -> None:
    good = photos["red"].read_bytes()
    job = client.watch(client.submit("embed", {"images": [good, cut_off(noise())]}).id, 30)
    assert job.error is not None
    assert job.error.code == "image_corrupt"
    assert job.error.message.startswith("image 1: ")
