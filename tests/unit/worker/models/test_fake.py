"""The stand-ins mean something, and misbehave when told to."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import ModelFailed
from tests.direct import loaded, plain
from worker.models.capabilities import ModelCard
from worker.models.fake import COLOURS, POISON, FakeTextEncoder, Pace


@pytest.fixture
def models() -> dict[str, Any]:
    return dict(loaded("fake"))


def encoder(**pace: Any) -> FakeTextEncoder:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    return FakeTextEncoder(card, Pace(**pace))


@pytest.mark.parametrize("colour", COLOURS)
def test_a_picture_is_closest_to_its_colours_word(models: dict[str, Any], colour: str) -> None:
    joint, image = models["JointEncoder"], models["ImageEncoder"]
    view = image.view
    picture = plain(COLOURS[colour], view.width, view.height)

    (vector,) = joint.project_images(image.encode_images([picture]))
    texts = np.stack(joint.embed_texts([f"a {name} door" for name in COLOURS]))

    assert list(COLOURS)[int((texts @ vector).argmax())] == colour


def test_cells_have_their_own_colours(models: dict[str, Any]) -> None:
    image = models["ImageEncoder"]
    view = image.region_view
    picture = plain(COLOURS["red"], view.width, view.height)
    picture[:, view.width // 2 :] = COLOURS["blue"]

    (answer,) = image.encode_regions([picture])
    names = answer.probabilities.argmax(axis=-1)

    assert (names[:, :2] == list(COLOURS).index("red")).all()
    assert (names[:, 2:] == list(COLOURS).index("blue")).all()


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("fail", RuntimeError),
        ("memory", MemoryError),
        ("nan", ModelFailed),
        # More than any address space.
        ("allocate=1000000000000000000", MemoryError),
    ],
)
def test_a_command_breaks_the_batch_that_holds_it(command: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        encoder().encode_texts(["red", f"blue fake:{command}"])

    assert len(encoder().encode_texts(["red", "blue"])) == 2


def test_a_poisoned_picture_breaks_its_batch(models: dict[str, Any]) -> None:
    view = models["ImageEncoder"].view

    with pytest.raises(RuntimeError):
        models["ImageEncoder"].encode_images([plain(POISON, view.width, view.height)])


def test_what_is_allocated_is_touched() -> None:
    amount = 300 * 2**20
    code = (
        "from pathlib import Path; from worker.models.registry import load_profile;"
        "encoder = load_profile('fake', device='cpu', cache_dir=Path('.')).load_all()['TextEncoder'];"
        "status = lambda: Path('/proc/self/status').read_text();"
        "peak = lambda: int(status().partition('VmHWM:')[2].split()[0]) * 1024;"
        f"before = peak(); encoder.encode_texts(['fake:allocate={amount}']); print(peak() - before)"
    )

    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert int(finished.stdout) > 0.9 * amount


def test_a_hang_never_answers() -> None:
    code = (
        "from pathlib import Path; from worker.models.registry import load_profile;"
        "encoder = load_profile('fake', device='cpu', cache_dir=Path('.')).load_all()['TextEncoder'];"
        "print('ready', flush=True); encoder.encode_texts(['fake:hang']); print('answered', flush=True)"
    )

    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()
        assert process.stdout.read() == ""


def test_a_crash_ends_the_process() -> None:
    code = (
        "from pathlib import Path; from worker.models.registry import load_profile;"
        "load_profile('fake', device='cpu', cache_dir=Path('.')).load_all()['TextEncoder']"
        ".encode_texts(['fake:exit'])"
    )

    finished = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path.cwd())

    assert finished.returncode == 70


@pytest.mark.parametrize(
    ("pace", "texts"),
    [
        ({"seconds_per_batch": 0.05}, ["red"]),
        ({"seconds_per_item": 0.025}, ["red", "blue"]),
        ({}, ["fake:sleep=0.05"]),
    ],
)
def test_slowness_is_set_by_batch_by_item_or_by_text(pace: dict[str, float], texts: list[str]) -> None:
    began = time.monotonic()
    encoder(**pace).encode_texts(texts)

    assert time.monotonic() - began >= 0.05


def test_a_batch_over_its_limit_does_not_fit() -> None:
    small = encoder(largest_batch=2)

    assert len(small.encode_texts(["a", "b"])) == 2
    with pytest.raises(MemoryError):
        small.encode_texts(["a", "b", "c"])
