"""What the generator promises beyond parity: seeds, previews, options, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="the extra `diffusion` is not installed")

from shared.errors import BadConfiguration, ModelFailed, ModelUnavailable
from tests.direct import plain
from tests.parity.tiny_diffusion import tiny_stable_diffusion
from worker.engine.items import bucket
from worker.models import diffusion
from worker.models.capabilities import GenerationRequest, Generator, ModelCard
from worker.models.diffusion import Diffusion
from worker.models.fake_painting import FakeCanvas
from worker.models.runtimes.network import Place
from worker.models.sources import Source

SIDE = 32


def opened(folder: Path, **options: Any) -> Diffusion:
    card = ModelCard(id="x", revision="1", grade="test", licence="MIT", device="cpu", dtype="")
    place = Place(device="cpu", threads=1, cache_dir=folder)
    kept = {"weights": None, "over": {}, "place": place, "options": options}
    return diffusion.load(Source(capability="Generator", card=card, folder=folder, **kept))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("diffusion"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Diffusion:
    return opened(folder)


def asked(**differing: Any) -> GenerationRequest:
    said: dict[str, Any] = {
        "prompt": "a cat",
        "width": SIDE,
        "height": SIDE,
        "steps": 3,
        "seed": 1,
        "image": None,
        "strength": 0.8,
    }
    return GenerationRequest(**{**said, **differing})


def finished(model: Diffusion, request: GenerationRequest) -> Any:
    (canvas,) = model.begin([request])
    while canvas.step < canvas.steps:
        (canvas,) = model.advance([canvas])
    return model.render([canvas])[0]


def test_the_same_seed_is_the_same_picture_and_another_is_another(model: Diffusion) -> None:
    first, again, other = (finished(model, asked(seed=seed)) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_text_decides(model: Diffusion) -> None:
    assert not np.array_equal(finished(model, asked()), finished(model, asked(prompt="two umbrellas")))


def test_canvases_at_any_step_share_a_batch_with_those_of_their_size(model: Diffusion) -> None:
    new, other = model.begin([asked(), asked(prompt="x", steps=5, image=plain((9, 9, 9), SIDE, SIDE))])
    (moved,) = model.advance([other])
    (wide,) = model.begin([asked(width=48)])

    assert bucket(new) == bucket(moved)
    assert bucket(new) != bucket(wide)


def test_strength_0_keeps_the_picture_but_for_the_autoencoder(model: Diffusion) -> None:
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    (canvas,) = model.begin([asked(image=image, strength=0.0)])
    (done,) = model.advance([canvas])

    assert (canvas.step, canvas.steps, done.step) == (0, 1, 1)
    assert torch.equal(canvas.latents, done.latents)  # type: ignore[attr-defined]  # a LatentCanvas


def test_strength_decides_how_many_steps_there_are(model: Diffusion) -> None:
    image = plain((200, 100, 0), SIDE, SIDE)

    canvases = model.begin([asked(image=image, strength=share, steps=10) for share in (0.1, 0.5, 1.0)])

    assert [canvas.steps for canvas in canvases] == [1, 5, 10]


def test_a_preview_is_of_full_size_and_changes_nothing(model: Diffusion) -> None:
    (canvas,) = model.begin([asked(width=48)])
    (canvas,) = model.advance([canvas])
    before = canvas.latents.clone()  # type: ignore[attr-defined]  # a LatentCanvas

    (shown,) = model.render([canvas])

    assert shown.shape == canvas.shape == (SIDE, 48, 3)
    assert shown.dtype == np.uint8
    assert torch.equal(canvas.latents, before)  # type: ignore[attr-defined]  # a LatentCanvas


def test_guidance_and_steps_are_options(folder: Path, model: Diffusion) -> None:
    unguided = opened(folder, guidance=1.0, steps=4)

    (canvas,) = unguided.begin([asked(steps=None)])

    assert canvas.steps == 4
    assert len(canvas.prompts) == 1  # type: ignore[attr-defined]  # a LatentCanvas
    assert not np.array_equal(finished(unguided, asked()), finished(model, asked()))


def test_its_sizes_are_the_checkpoints_or_the_manifests(folder: Path, model: Diffusion) -> None:
    told = opened(folder, size=64, largest=128)

    assert isinstance(model, Generator)
    assert (model.size, model.largest) == ((32, 32), 48)
    assert (told.size, told.largest) == ((64, 64), 128)
    assert model.begin([]) == model.advance([]) == model.render([]) == []
    model.warm_up()


def test_a_network_that_sees_no_numbers_leaves_the_canvases_as_they_were(folder: Path) -> None:
    broken = opened(folder)
    canvases = broken.begin([asked(), asked(seed=2)])
    sound = [weights.clone() for weights in broken._pipeline.unet.parameters()]
    for weights in broken._pipeline.unet.parameters():
        weights.data.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        broken.advance(canvases)

    for weights, kept in zip(broken._pipeline.unet.parameters(), sound, strict=True):
        weights.data.copy_(kept)
    (first, _), (expected,) = broken.advance(canvases), broken.advance(broken.begin([asked()]))

    torch.testing.assert_close(first.latents, expected.latents)  # type: ignore[attr-defined]  # LatentCanvases


def test_another_models_canvas_is_refused(model: Diffusion) -> None:
    blank = np.zeros((SIDE, SIDE, 3), dtype=np.float32)

    with pytest.raises(TypeError, match="FakeCanvas"):
        model.render([FakeCanvas(first=blank, last=blank, text="", step=0, steps=1)])


def reworded(folder: Path, into: Path, **said: Any) -> Path:
    """Return a copy of the folder whose index says something else."""
    for part in folder.iterdir():
        if part.is_dir():
            (into / part.name).symlink_to(part)
    index = json.loads((folder / "model_index.json").read_text())
    (into / "model_index.json").write_text(json.dumps(index | said))
    return into


def test_another_kind_of_pipeline_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"StableDiffusionXLPipeline.*only StableDiffusionPipeline"):
        opened(reworded(folder, tmp_path, _class_name="StableDiffusionXLPipeline"))


def test_a_part_with_code_of_its_own_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="scheduler is of my_scheduler"):
        opened(reworded(folder, tmp_path, scheduler=["my_scheduler", "DDIMScheduler"]))


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"model_index\.json"):
        opened(tmp_path)


def test_weights_that_are_no_safetensors_are_not_loaded(folder: Path, tmp_path: Path) -> None:
    reworded(folder, tmp_path)
    (tmp_path / "unet").unlink()
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_bytes((folder / "unet" / "config.json").read_bytes())
    weights = tmp_path / "unet" / "diffusion_pytorch_model.bin"
    torch.save({}, weights)

    with pytest.raises(ModelUnavailable, match="safetensors"):
        opened(tmp_path)
