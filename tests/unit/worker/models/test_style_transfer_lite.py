"""The starter's stylizer paints real pictures, in its own styles and in that of any other picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from worker.models.capabilities import Canvas, Pixels, StyleRequest, Tuned
from worker.models.fake_painting import FakeCanvas
from worker.models.registry import load_profile
from worker.models.style_transfer_lite import STYLES, StyleTransferLite

PHOTOS = Path(__file__).parents[4] / "client" / "demo" / "photos"


@pytest.fixture(scope="module")
def stylizer(tmp_path_factory: pytest.TempPathFactory) -> StyleTransferLite:
    profile = load_profile("starter", device="cpu", cache_dir=tmp_path_factory.mktemp("cache"))
    return cast("StyleTransferLite", profile.loadings["Stylizer"].load({}))


def photo(name: str, width: int, height: int) -> Pixels:
    with Image.open(io.BytesIO((PHOTOS / f"{name}.jpg").read_bytes())) as image:
        return np.asarray(image.convert("RGB").resize((width, height)))


@pytest.fixture(scope="module")
def cat() -> Pixels:
    return photo("cat", 160, 128)


@pytest.fixture(scope="module")
def macaw() -> Pixels:
    return photo("macaw", 256, 256)


def request(
    image: Pixels, style: str | None = None, style_image: Pixels | None = None, strength: float = 1.0
) -> StyleRequest:
    return StyleRequest(image=image, style=style, style_image=style_image, strength=strength, steps=None)


def painted(stylizer: StyleTransferLite, wanted: StyleRequest) -> Pixels:
    (canvas,) = stylizer.begin([wanted])
    while canvas.step < canvas.steps:
        (canvas,) = stylizer.advance([canvas])
    (pixels,) = stylizer.render([canvas])
    return pixels


def difference(one: Pixels, other: Pixels) -> float:
    """Return the mean difference of two pictures, in levels."""
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32)).mean())


def likeness(one: Pixels, other: Pixels) -> float:
    """Return how alike the outlines of two pictures are: the correlation of their edges."""
    edges = [
        np.hypot(*np.gradient(picture.astype(np.float32).mean(axis=2))).ravel() for picture in (one, other)
    ]
    return float(np.corrcoef(*edges)[0, 1])


@pytest.mark.parametrize("style", ["mosaic", "oil", "woodblock", "umber"])
def test_a_named_style_changes_the_colours_and_keeps_the_outlines(
    stylizer: StyleTransferLite, cat: Pixels, style: str
) -> None:
    pixels = painted(stylizer, request(cat, style))

    assert pixels.shape == cat.shape
    assert pixels.dtype == np.uint8
    assert difference(pixels, cat) > 20
    assert likeness(pixels, cat) > 0.2


def test_no_two_styles_look_alike(stylizer: StyleTransferLite, cat: Pixels) -> None:
    pictures = [painted(stylizer, request(cat[:64, :64], style)) for style in STYLES]
    gaps = [difference(one, other) for i, one in enumerate(pictures) for other in pictures[:i]]

    assert len(set(STYLES)) == len(STYLES) == 26
    assert min(gaps) > 10


def test_any_picture_gives_a_style(stylizer: StyleTransferLite, cat: Pixels, macaw: Pixels) -> None:
    red = painted(stylizer, request(cat, style_image=macaw))
    grey = painted(stylizer, request(cat, style_image=photo("raccoon", 256, 256)))

    assert difference(red, grey) > 10
    assert likeness(red, cat) > 0.3
    # The macaw is red, the raccoon is not.
    assert np.ptp(red.reshape(-1, 3).mean(axis=0)) > np.ptp(grey.reshape(-1, 3).mean(axis=0))


@pytest.mark.parametrize("named", [True, False])
def test_strength_goes_from_the_picture_as_it_is_to_the_whole_style(
    stylizer: StyleTransferLite, cat: Pixels, macaw: Pixels, *, named: bool
) -> None:
    def at(strength: float) -> Pixels:
        style, style_image = ("mosaic", None) if named else (None, macaw)
        return painted(stylizer, request(cat, style, style_image, strength))

    none, weak, half, whole = (difference(at(strength), at(1.0)) for strength in (0.0, 0.2, 0.5, 1.0))

    assert np.array_equal(at(0.0), cat)
    assert none > weak > half > whole == 0


def test_a_style_image_takes_two_steps_and_a_named_style_one(
    stylizer: StyleTransferLite, cat: Pixels, macaw: Pixels
) -> None:
    named, shown = stylizer.begin([request(cat, "oil"), request(cat, style_image=macaw)])

    assert (named.steps, shown.steps) == (1, 2)
    assert named.shape == shown.shape == cat.shape
    assert all(np.array_equal(pixels, cat) for pixels in stylizer.render([named, shown]))


def test_a_picture_is_painted_the_same_alone_and_among_others(
    stylizer: StyleTransferLite, cat: Pixels, macaw: Pixels
) -> None:
    wanted = [request(cat, "oil"), request(cat, "haze", strength=0.5), request(macaw[:40, :90], "oil")]

    together = stylizer.render(stylizer.advance(stylizer.begin(wanted)))

    assert all(
        np.array_equal(pixels, painted(stylizer, one)) for pixels, one in zip(together, wanted, strict=True)
    )


def test_canvases_that_were_advanced_once_can_be_again(stylizer: StyleTransferLite, cat: Pixels) -> None:
    """Of a batch that failed, the engine calls the halves again."""
    canvases = stylizer.begin([request(cat, "oil")])
    first, second = (stylizer.advance(canvases)[0] for _ in range(2))

    assert (first.step, second.step) == (1, 1)
    one, other = stylizer.render([first, second])
    assert np.array_equal(one, other)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2), (33, 47), (97, 64)])
@pytest.mark.parametrize("named", [True, False])
def test_pictures_of_any_size_keep_it(
    stylizer: StyleTransferLite, macaw: Pixels, size: tuple[int, int], *, named: bool
) -> None:
    image = macaw[: size[0], : size[1]]
    wanted = request(image, "oil") if named else request(image, style_image=macaw)

    assert painted(stylizer, wanted).shape == image.shape


@pytest.mark.parametrize("named", [True, False])
def test_what_is_added_at_the_edges_leaves_no_mark(
    stylizer: StyleTransferLite, cat: Pixels, macaw: Pixels, *, named: bool
) -> None:
    """A picture of one column less is padded by one; at that edge it must differ no more than elsewhere."""
    style, style_image = ("oil", None) if named else (None, macaw)
    whole = painted(stylizer, request(cat, style, style_image))[:, :-1].astype(np.float32)
    less = painted(stylizer, request(cat[:, :-1].copy(), style, style_image)).astype(np.float32)

    columns = np.abs(whole - less).mean(axis=(0, 2))
    assert columns[-4:].mean() < 3 * columns.mean() + 5


def test_a_canvas_of_another_model_is_refused(stylizer: StyleTransferLite) -> None:
    blank = np.zeros((8, 8, 3), dtype=np.float32)
    foreign: Canvas = FakeCanvas(first=blank, last=blank, text="", step=0, steps=1)

    with pytest.raises(TypeError, match="FakeCanvas is no canvas of this model"):
        stylizer.advance([foreign])


def test_one_canvas_at_a_time_leaves_the_device_free_between_them(stylizer: StyleTransferLite) -> None:
    assert isinstance(stylizer, Tuned)
    assert stylizer.batch_limits == {"advance": 1}


def test_it_runs_without_torch_on_the_cpu(stylizer: StyleTransferLite) -> None:
    assert (stylizer.card.device, stylizer.card.runtime, stylizer.card.dtype) == ("cpu", "onnx", "float32")
