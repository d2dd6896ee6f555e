"""A picture takes on another's style step by step, keeps its own content, and minds no neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import BadConfiguration, ModelFailed, ModelUnavailable
from tests.direct import plain, png
from tests.parity.tiny_classic import tiny_resnet18, tiny_vgg16
from worker.engine.items import bucket, pixels
from worker.models import gatys
from worker.models.capabilities import ModelCard, Pixels, StyleRequest, Stylizer
from worker.models.gatys import Gatys, Optimised
from worker.models.networks.gatys import distance
from worker.models.runtimes.network import Place
from worker.models.sources import Source

CARD = ModelCard(id="tiny", revision="1", grade="test", licence="none", device="cpu", dtype="")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and wait for it where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vgg16(tmp_path_factory.mktemp("vgg16"))


@pytest.fixture(scope="module")
def stylizer(folder: Path) -> Gatys:
    return gatys.load(source(folder))


def source(folder: Path, **options: Any) -> Source:
    place = Place(device="cpu", threads=1, cache_dir=folder)
    return Source(
        capability="Stylizer", card=CARD, weights=None, folder=folder, over={}, place=place, options=options
    )


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def request(image: Pixels, style: Pixels, strength: float = 1.0, steps: int | None = 12) -> StyleRequest:
    return StyleRequest(image=image, style=None, style_image=style, strength=strength, steps=steps)


def painted(stylizer: Gatys, *requests: StyleRequest) -> list[Any]:
    """Return the finished canvases."""
    canvases = stylizer.begin(requests)
    while canvases[0].step < canvases[0].steps:
        canvases = stylizer.advance(canvases)
    return canvases


def style_distance(stylizer: Gatys, canvas: Optimised) -> float:
    with torch.no_grad():
        seen = stylizer._perception(canvas.pixels[None]).style
    return float(sum(distance(found, wanted[None]) for found, wanted in zip(seen, canvas.style, strict=True)))


def test_the_style_comes_nearer_and_a_stronger_one_more_so(stylizer: Gatys) -> None:
    image, style = noise(40, 48), plain((220, 40, 40))
    (begun,) = stylizer.begin([request(image, style)])
    assert isinstance(begun, Optimised)
    before = style_distance(stylizer, begun)
    weak, strong = (
        style_distance(stylizer, painted(stylizer, request(image, style, strength))[0])
        for strength in (0.02, 1.0)
    )
    assert isinstance(stylizer, Stylizer)
    assert strong < weak < before
    assert strong < before / 2


def test_a_strength_of_nothing_leaves_the_picture_as_it_is(stylizer: Gatys) -> None:
    given = [
        request(noise(24, 24, seed), noise(16, 16, 9), strength) for seed, strength in ((1, 0.0), (2, 1.0))
    ]
    still, moved = stylizer.render(painted(stylizer, *given))
    assert np.array_equal(still, given[0].image)
    assert not np.array_equal(moved, given[1].image)


def test_it_begins_with_the_picture_and_keeps_its_shape(stylizer: Gatys) -> None:
    image = noise(19, 33)
    canvases = stylizer.begin([request(image, noise(8, 8))])
    assert canvases[0].shape == (19, 33, 3)
    assert (canvases[0].step, canvases[0].steps) == (0, 12)
    assert np.array_equal(stylizer.render(canvases)[0], image)
    assert stylizer.render(stylizer.advance(canvases))[0].shape == (19, 33, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 200), (7, 3), (17, 16)])
def test_no_picture_is_too_small(stylizer: Gatys, height: int, width: int) -> None:
    (canvas,) = painted(stylizer, request(noise(height, width), noise(1, 1), steps=2))
    assert stylizer.render([canvas])[0].shape == (height, width, 3)


def test_canvases_of_one_shape_share_a_batch_at_different_steps(stylizer: Gatys) -> None:
    first, second = (request(noise(24, 24, seed), noise(16, 16, seed + 5)) for seed in (1, 2))
    (ahead,) = stylizer.advance(stylizer.advance(stylizer.begin([first])))
    (behind,) = stylizer.begin([second])
    assert bucket(ahead) == bucket(behind)
    assert pixels(ahead) == 24 * 24
    together = stylizer.advance([ahead, behind])
    alone = [stylizer.advance([one])[0] for one in (ahead, behind)]
    assert [one.step for one in together] == [3, 1]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Optimised)
        assert isinstance(other, Optimised)
        np.testing.assert_allclose(one.pixels, other.pixels, atol=1e-4)
        for moment, same in zip(one.moments, other.moments, strict=True):
            np.testing.assert_allclose(moment, same, rtol=1e-4, atol=1e-4)


def test_of_nothing_comes_nothing(stylizer: Gatys) -> None:
    assert stylizer.begin([]) == stylizer.advance([]) == stylizer.render([]) == []


def test_a_manifest_may_name_styles_of_its_own(folder: Path) -> None:
    style = plain((10, 200, 30), 600, 300)
    (folder / "green.png").write_bytes(png(style))
    stylizer = gatys.load(source(folder, styles={"meadow": "green.png"}))
    assert stylizer.styles == ("meadow",)
    image = noise(24, 24)
    named = request(image, style)._replace(style="meadow", style_image=None)
    shrunk = request(image, plain((10, 200, 30), 256, 128))
    for one, other in zip(*(stylizer.begin([one])[0].style for one in (named, shrunk)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_a_style_that_is_not_there_is_said_at_the_start(folder: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"lacks the style none\.png"):
        gatys.load(source(folder, styles={"none": "none.png"}))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="13 convolutions"):
        gatys.load(source(tiny_resnet18(tmp_path)))


def test_weights_that_are_no_numbers_paint_nothing(folder: Path) -> None:
    broken = gatys.load(source(folder))
    canvases = broken.begin([request(noise(8, 8), noise(8, 8))])
    broken._perception._layers[0].bias.fill_(float("nan"))
    with pytest.raises(ModelFailed, match="not finite"):
        broken.advance(canvases)


def test_it_warms_up(stylizer: Gatys) -> None:
    stylizer.warm_up()
    assert stylizer.view.fit == stylizer.style_view.fit == "inside"
