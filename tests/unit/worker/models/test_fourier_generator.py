"""The starter's generator climbs towards a text: from a seed, or from a picture, the same way every time."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.errors import BadConfiguration, ModelFailed
from tests.direct import loaded
from worker.models import fourier, fourier_generator
from worker.models.capabilities import Canvas, GenerationRequest, ModelCard, Pixels, Tuned, Vector
from worker.models.fake_painting import FakeCanvas
from worker.models.fourier_generator import FourierCanvas
from worker.models.registry import load_profile
from worker.models.runtimes.network import Place
from worker.models.sources import Source
from worker.models.vectors import unit

#: The classes' numbers in ImageNet.
VOLCANO, MACAW = "980", "88"
PHOTO = Path(__file__).parents[4] / "client" / "demo" / "photos" / "cat.jpg"


class LabelSpace:
    """A joint space in which a text is the label whose number it says; the real one takes long to load."""

    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    vocabulary_vectors = unit(np.random.default_rng(1).normal(size=(1000, 64)).astype(np.float32))
    dim = 64

    def warm_up(self) -> None:
        """Nothing is lazy here."""

    def embed_texts(self, texts: Sequence[str]) -> list[Vector]:
        return [self.vocabulary_vectors[int(text) if text.isdigit() else 0] for text in texts]

    def project_images(self, features: Any) -> Any:
        raise NotImplementedError

    def project_regions(self, features: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Any:
    profile = load_profile("starter", device="cpu", cache_dir=tmp_path_factory.mktemp("cache"))
    space: dict[str, Any] = dict.fromkeys(profile.loadings["Generator"].over, LabelSpace())
    return profile.loadings["Generator"].load(space)


@pytest.fixture(scope="module")
def cat() -> Pixels:
    with Image.open(io.BytesIO(PHOTO.read_bytes())) as image:
        return np.asarray(image.convert("RGB").resize((96, 64)))


def wanted(prompt: str = VOLCANO, **fields: Any) -> GenerationRequest:
    plain = {"width": 64, "height": 64, "steps": 2, "seed": 1, "image": None, "strength": 1.0}
    return GenerationRequest(prompt=prompt, **(plain | fields))


def finished(generator: Any, *requests: GenerationRequest) -> list[Pixels]:
    """Return the pictures of requests of as many steps, painted side by side."""
    canvases = generator.begin(requests)
    while canvases[0].step < canvases[0].steps:
        canvases = generator.advance(canvases)
    pictures: list[Pixels] = generator.render(canvases)
    return pictures


def distance(one: Pixels, other: Pixels) -> float:
    """Return the mean difference of two pictures, in levels."""
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def test_steps_bring_a_picture_nearer_to_its_text_in_the_starters_joint_space() -> None:
    """With all of the profile's own models, seen by the image encoder as any other picture is."""
    models = loaded("starter")
    generator: Any = models["Generator"]
    encoder: Any = models["ImageEncoder"]
    joint: Any = models["JointEncoder"]
    canvases = generator.begin([wanted("a volcano", width=224, height=224, steps=16)])
    (before,) = generator.render(canvases)
    for _ in range(16):
        canvases = generator.advance(canvases)
    (after,) = generator.render(canvases)

    (text,) = joint.embed_texts(["a volcano"])
    first, last = (vector @ text for vector in joint.project_images(encoder.encode_images([before, after])))

    assert last > first + 0.3
    assert last > 0.5


def test_one_seed_gives_one_picture_to_the_last_bit(generator: Any) -> None:
    first, second, other = (finished(generator, wanted(seed=seed))[0] for seed in (5, 5, 6))

    assert np.array_equal(first, second)
    assert distance(first, other) > 0


def test_the_largest_seed_is_taken(generator: Any) -> None:
    (canvas,) = generator.begin([wanted(seed=2**63 - 1)])

    assert canvas.seed == 2**63 - 1


def test_neighbours_in_a_batch_change_nothing(generator: Any) -> None:
    requests = [wanted(seed=5), wanted(MACAW, seed=6), wanted(seed=7, width=96)]

    together = finished(generator, *requests)
    alone = [finished(generator, one)[0] for one in requests]

    assert all(np.array_equal(*pair) for pair in zip(together, alone, strict=True))


def test_a_step_that_failed_can_be_taken_again(generator: Any) -> None:
    canvases = generator.begin([wanted()])
    first, second = (generator.render(generator.advance(canvases))[0] for _ in range(2))

    assert canvases[0].step == 0
    assert np.array_equal(first, second)


@pytest.mark.parametrize(("width", "height"), [(64, 128), (128, 64), (72, 104)])
def test_it_makes_the_size_that_was_asked_for(generator: Any, width: int, height: int) -> None:
    (canvas,) = generator.begin([wanted(width=width, height=height, steps=1)])
    (pixels,) = generator.render(generator.advance([canvas]))

    assert canvas.shape == pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8


def test_its_own_number_of_steps_is_taken_unless_another_is_asked_for(generator: Any) -> None:
    own, asked = generator.begin([wanted(steps=None), wanted(steps=9)])

    assert own.steps > 30
    assert asked.steps == 9


def test_at_strength_zero_the_picture_stays_as_it_is(generator: Any, cat: Pixels) -> None:
    (pixels,) = finished(generator, wanted(width=96, image=cat, strength=0.0))

    assert np.array_equal(pixels, cat)


def test_the_stronger_the_farther_from_the_picture(generator: Any, cat: Pixels) -> None:
    gaps = [
        distance(finished(generator, wanted(width=96, steps=4, image=cat, strength=strength))[0], cat)
        for strength in (0.2, 0.6, 1.0)
    ]

    assert 0 < gaps[0] < gaps[1] < gaps[2]


def test_at_strength_one_the_picture_is_forgotten(generator: Any, cat: Pixels) -> None:
    from_picture, from_noise = finished(
        generator, wanted(width=96, image=cat, strength=1.0), wanted(width=96)
    )

    assert distance(from_picture, from_noise) < 1


def test_a_picture_survives_its_spectrum(cat: Pixels) -> None:
    extremes = np.where(np.arange(96)[None, :, None] < 48, 0, 255) * np.ones((64, 1, 3), dtype=np.uint8)
    for pixels in (cat, extremes.astype(np.uint8)):
        picture = torch.from_numpy(np.array(pixels)).permute(2, 0, 1) / 255.0
        again = fourier.decoded(fourier.encoded(picture), 96)
        assert np.array_equal((again * 255).round().permute(1, 2, 0).numpy().astype(np.uint8), pixels)


def test_low_frequencies_are_the_strongest_in_noise() -> None:
    picture = fourier.decoded(fourier.noise(64, 64, torch.Generator().manual_seed(1)), 64)
    power = torch.fft.rfft2(picture - picture.mean(dim=(1, 2), keepdim=True)).abs().mean(dim=0)

    assert power[1:5, 1:5].mean() > 5 * power[28:36, 28:].mean()


def test_numbers_that_are_not_finite_fail_the_step(generator: Any) -> None:
    (canvas,) = generator.begin([wanted()])
    broken = dataclasses.replace(canvas, coefficients=canvas.coefficients * float("nan"))

    with pytest.raises(ModelFailed, match="not finite"):
        generator.advance([broken])


def test_a_canvas_of_another_model_is_refused(generator: Any) -> None:
    blank = np.zeros((8, 8, 3), dtype=np.float32)
    foreign: Canvas = FakeCanvas(first=blank, last=blank, text="", step=0, steps=1)

    with pytest.raises(TypeError, match="FakeCanvas is no canvas of this model"):
        generator.render([foreign])


def test_other_jobs_have_the_device_after_every_step(generator: Any) -> None:
    assert isinstance(generator, Tuned)
    assert generator.batch_limits == {"advance": 1}


def test_nothing_to_do_is_no_call(generator: Any) -> None:
    assert generator.begin([]) == generator.advance([]) == generator.render([]) == []


def test_without_a_joint_space_it_is_a_wrong_pairing(tmp_path: Path) -> None:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="float32")
    place = Place(device="cpu", threads=1, cache_dir=tmp_path)
    source = Source(capability="Generator", card=card, weights=None, over={}, place=place)

    with pytest.raises(BadConfiguration, match="JointEncoder"):
        fourier_generator.load(source)


def test_a_canvas_holds_what_the_text_asks_for(generator: Any) -> None:
    (canvas,) = generator.begin([wanted(MACAW)])

    assert isinstance(canvas, FourierCanvas)
    assert canvas.goal.classes[0] == int(MACAW)
    assert float(canvas.goal.weights.sum()) == pytest.approx(1, abs=1e-5)
