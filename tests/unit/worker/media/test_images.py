"""From bytes to pixels, in this process: every mode, every way up, every refusal."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from shared.errors import (
    ImageCorrupt,
    ImageFormatForbidden,
    ImageNotRecognized,
    ImageTooLarge,
    ImageUndecodable,
)
from shared.schemas.base import IMAGE_FORMATS
from shared.settings import Limits
from worker.media import images
from worker.media.views import View

LIMITS = Limits()
SMALL = View(width=16, height=8, fit="stretch")
FORMATS = sorted(IMAGE_FORMATS.values())


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes, view: View = SMALL, limits: Limits = LIMITS) -> NDArray[np.int64]:
    return np.asarray(images.decode(content, view, limits)).astype(int)


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))

    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def gradient(width: int, height: int) -> NDArray[np.float64]:
    """Grey from 0 to 1, left to right."""
    return np.tile(np.linspace(0.0, 1.0, width), (height, 1))


def corner() -> Image.Image:
    """White, its upper left quarter red."""
    image = Image.new("RGB", (16, 8), "white")
    image.paste("red", (0, 0, 8, 4))
    return image


def red_quarter(pixels: NDArray[np.int64]) -> str:
    """Which quarter is red: `ul`, `ur`, `ll` or `lr`."""
    height, width = pixels.shape[:2]
    points = {"ul": (1, 1), "ur": (1, width - 2), "ll": (height - 2, 1), "lr": (height - 2, width - 2)}
    (found,) = [name for name, point in points.items() if pixels[point][1] < 128]
    return found


def test_the_formats_are_those_that_the_schemas_name() -> None:
    assert sorted(images.FORMATS) == FORMATS


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_decodes_to_rgb_of_the_views_size(kind: str) -> None:
    pixels = decoded(encoded(Image.new("RGB", (40, 30), (200, 100, 50)), kind))
    assert pixels.shape == (8, 16, 3)
    assert np.abs(pixels - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "quarter"),
    [
        (1, "ul"),
        (2, "ur"),
        (3, "lr"),
        (4, "ll"),
        (5, "ul"),
        (6, "ur"),
        (7, "lr"),
        (8, "ll"),
        (0, "ul"),
        (9, "ul"),
    ],
)
def test_the_picture_stands_as_exif_says(kind: str, orientation: int, quarter: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert red_quarter(decoded(encoded(corner(), kind, exif=exif))) == quarter


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_a_compressed_tiff_is_turned_once(compression: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert red_quarter(decoded(encoded(corner(), "TIFF", exif=exif, compression=compression))) == "ur"


def test_a_crop_of_a_lying_picture_keeps_the_upright_frame() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray((gradient(400, 100) * 255).astype(np.uint8))
    pixels = decoded(encoded(wide, "JPEG", exif=exif), View(width=10, height=20))
    # Upright, the gradient runs from top to bottom over 100 x 400; the frame keeps its middle half.
    assert pixels.shape == (20, 10, 3)
    assert pixels[0].mean() == pytest.approx(255 * 0.25, abs=8)
    assert pixels[-1].mean() == pytest.approx(255 * 0.75, abs=8)


def test_broken_exif_leaves_the_picture_as_it_is() -> None:
    content = encoded(corner(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40)
    assert red_quarter(decoded(content)) == "ul"


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "CMYK", "P", "YCbCr", "I;16", "I", "F"])
def test_every_mode_keeps_black_and_white_apart(mode: str) -> None:
    halves = np.repeat([[0, 1]], [20, 20], axis=1).repeat(10, axis=0)
    if mode in ("I;16", "I", "F"):
        dtype, white = {"I;16": (np.uint16, 65535), "I": (np.int32, 65535), "F": (np.float32, 1.0)}[mode]
        image = Image.fromarray((halves * white).astype(dtype))
    else:
        image = Image.fromarray((halves * 255).astype(np.uint8)).convert("RGB").convert(mode)
    pixels = decoded(encoded(image, "TIFF"))
    assert pixels[:, :6].max() <= 10
    assert pixels[:, -6:].min() >= 245


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = Image.fromarray((gradient(160, 8) * 65535).astype(np.uint16))
    pixels = decoded(encoded(deep, kind))
    assert np.abs(pixels[:, :, 0] - 255 * (np.arange(16) + 0.5) / 16).max() <= 2


def test_deep_integers_and_floats_beyond_any_depth_are_stretched() -> None:
    for values in (gradient(160, 8) * 4e6 - 2e6, gradient(160, 8) * 1e9):
        pixels = decoded(encoded(Image.fromarray(values.astype(np.int32)), "TIFF"))
        assert np.abs(pixels[:, :, 0] - 255 * (np.arange(16) + 0.5) / 16).max() <= 2


def test_floats_of_one_value_are_a_picture() -> None:
    assert decoded(encoded(Image.fromarray(np.full((8, 8), 1e30, np.float32)), "TIFF")).shape == (8, 16, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_finite_numbers_are_corrupt(value: float) -> None:
    content = encoded(Image.fromarray(np.full((8, 8), value, np.float32)), "TIFF")
    with pytest.raises(ImageCorrupt, match="not finite"):
        decoded(content)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    image = Image.new("RGBA", (16, 8), (255, 0, 0, 0)).convert(mode)
    assert decoded(encoded(image, "TIFF")).min() == 255


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_colour_declared_transparent_becomes_white(mode: str) -> None:
    transparent = (0, 0, 0) if mode == "RGB" else 0
    content = encoded(Image.new(mode, (16, 8)), "PNG", transparency=transparent)
    assert decoded(content).min() == 255


def test_half_transparent_black_becomes_grey() -> None:
    assert np.abs(decoded(encoded(Image.new("RGBA", (16, 8), (0, 0, 0, 128)), "PNG")) - 127).max() <= 1


def test_the_colour_under_full_transparency_does_not_bleed() -> None:
    image = Image.new("RGBA", (32, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 16))
    pixels = decoded(encoded(image, "PNG"))
    # Between blue and white, green equals red; red from under the transparent half would exceed it.
    assert np.abs(pixels[:, :, 0] - pixels[:, :, 1]).max() <= 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    first, second = Image.new("RGB", (16, 8), (0, 200, 0)), Image.new("RGB", (16, 8), (200, 0, 0))
    pixels = decoded(encoded(first, kind, save_all=True, append_images=[second]))
    assert np.abs(pixels - (0, 200, 0)).max() <= 8


def test_of_a_phones_mpo_the_first_frame_is_taken_as_the_jpeg_it_is() -> None:
    first, second = Image.new("RGB", (16, 8), (0, 200, 0)), Image.new("RGB", (16, 8), (200, 0, 0))
    content = encoded(first, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert np.abs(decoded(content) - (0, 200, 0)).max() <= 8


@pytest.mark.parametrize(
    ("view", "left", "right"),
    [
        (View(width=10, height=10, fit="stretch"), 0.0, 1.0),
        (View(width=10, height=10, fit="crop"), 0.25, 0.75),
        (View(width=10, height=10, fit="crop", crop_fraction=0.5), 0.375, 0.625),
        (View(width=20, height=10, fit="crop", resample="bilinear"), 0.0, 1.0),
        (View(width=40, height=10, fit="crop"), 0.0, 1.0),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("enlarged", [1, 10])
def test_the_view_shows_its_part_of_the_picture(
    view: View, left: float, right: float, kind: str, enlarged: int
) -> None:
    image = Image.fromarray((gradient(200 * enlarged, 100 * enlarged) * 255).astype(np.uint8))
    pixels = decoded(encoded(image, kind), view)[:, :, 0]
    assert pixels.shape == (view.height, view.width)
    places = left + (right - left) * (np.arange(view.width) + 0.5) / view.width
    assert np.abs(pixels - 255 * places).max() <= 6


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 5)])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_thin_and_tiny_pictures_fill_the_view(size: tuple[int, int], fit: Any) -> None:
    content = encoded(Image.new("RGB", size, (9, 9, 9)), "PNG")
    pixels = decoded(content, View(width=32, height=24, fit=fit, crop_fraction=0.875))
    assert (pixels == 9).all()
    assert pixels.shape == (24, 32, 3)


@given(
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    view=st.builds(
        View,
        width=st.integers(1, 99),
        height=st.integers(1, 99),
        fit=st.sampled_from(["crop", "stretch"]),
        resample=st.sampled_from(["bilinear", "bicubic"]),
        crop_fraction=st.floats(0.5, 1.0),
    ),
    orientation=st.integers(1, 8),
    kind=st.sampled_from(["JPEG", "BMP", "TIFF"]),
)
@settings(max_examples=200, deadline=None)
def test_any_picture_fills_any_view(size: tuple[int, int], view: View, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decoded(encoded(Image.new("RGB", size, (90, 90, 90)), kind, exif=exif), view)
    assert pixels.shape == (view.height, view.width, 3)
    assert np.abs(pixels - 90).max() <= 1


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(640, 480), (1280, 960), (900, 1700), (2048, 2048), (333, 4000)])
@pytest.mark.parametrize(
    "view",
    [
        View(width=224, height=224, crop_fraction=0.875),
        View(width=100, height=300),
        View(width=64, height=64, fit="stretch"),
    ],
)
def test_a_jpeg_is_shrunk_while_decoding_but_never_below_the_view(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], view: View, orientation: int
) -> None:
    framed: list[Image.Image] = []
    original = images._framed

    def spy(image: Image.Image, view: View) -> Image.Image:
        framed.append(image)
        return original(image, view)

    monkeypatch.setattr(images, "_framed", spy)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded(encoded(Image.new("RGB", size), "JPEG", exif=exif), view)
    (width, height) = framed[0].size if orientation == 1 else framed[0].size[::-1]
    if view.fit == "stretch":
        room = min(width / view.width, height / view.height)
        full = min(size[0] / view.width, size[1] / view.height)
    else:
        upright = size if orientation == 1 else size[::-1]
        room = min(width / view.width, height / view.height) * view.crop_fraction
        full = min(upright[0] / view.width, upright[1] / view.height) * view.crop_fraction
    assert room >= min(full, 1.5) * 0.99
    assert framed[0].size == size or room >= 1.5


def test_a_large_jpeg_is_shrunk_while_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    original = images._framed
    monkeypatch.setattr(
        images, "_framed", lambda image, view: (sizes.append(image.size), original(image, view))[1]
    )
    decoded(encoded(Image.new("RGB", (4000, 3000)), "JPEG"), View(width=224, height=224))
    assert sizes == [(500, 375)]


@pytest.mark.parametrize("size", [(30_000, 30_000), (7_000, 7_000), (9_000, 4_500)])
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    pixels = f"{size[0] * size[1]:,}"
    with pytest.raises(ImageTooLarge, match=f"image has {pixels} pixels; the limit is 40,000,000"):
        decoded(png(*size), limits=Limits(image_side=100_000))


def test_a_side_too_long_is_refused_by_the_header() -> None:
    with pytest.raises(ImageTooLarge, match=r"image is 20000x10 px; the limit is 16,384 px"):
        decoded(png(20_000, 10))


def test_an_operator_may_raise_the_limit_above_pillows_own() -> None:
    with pytest.raises(ImageCorrupt):
        decoded(png(10_000, 10_000), limits=Limits(image_pixels=200_000_000))


def test_a_webp_bomb_is_refused_before_its_canvas_is_made() -> None:
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_382).to_bytes(3, "little") * 2
    content = b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
    with pytest.raises(ImageTooLarge):
        decoded(content)


def test_a_picture_without_extent_is_refused() -> None:
    with pytest.raises((ImageCorrupt, ImageNotRecognized)):
        decoded(png(0, 10))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_file_is_corrupt(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    content = encoded(noise, kind)
    with pytest.raises(ImageCorrupt, match="truncated or broken"):
        decoded(content[: len(content) // 2])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"hello, this is no image", b"\xff\xd8", b"RIFF", b"P6 1 1 255 abc"]
)
def test_what_is_no_image_is_not_recognized(content: bytes) -> None:
    with pytest.raises(ImageNotRecognized, match="send JPEG, PNG, WEBP, GIF, BMP or TIFF"):
        decoded(content)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00", "HEIC or AVIF"),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "HEIC or AVIF"),
    ],
)
def test_known_formats_that_we_do_not_take_are_named(content: bytes, name: str) -> None:
    with pytest.raises(ImageFormatForbidden, match=f"{name} is not accepted; send JPEG, PNG"):
        decoded(content)


@pytest.mark.parametrize(
    "kind", ["ICO", "PPM", "TGA", "PCX", "ICNS", "JPEG2000", "EPS", "PDF", "DIB", "SGI", "AVIF"]
)
def test_formats_beside_the_list_are_refused(kind: str) -> None:
    try:
        content = encoded(Image.new("RGB", (32, 32)), kind)
    except (OSError, KeyError):
        pytest.skip(f"this Pillow writes no {kind}")
    with pytest.raises((ImageFormatForbidden, ImageNotRecognized)):
        decoded(content)


def test_pixels_that_do_not_fit_into_memory_are_undecodable(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(images, "_flat", exhausted)
    with pytest.raises(ImageUndecodable, match="memory"):
        decoded(encoded(corner(), "PNG"))


def test_decoding_leaves_pillow_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decoded(encoded(corner(), "PNG"), limits=Limits(image_pixels=1000))
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 200), (64, 32)),
        ((200, 400), (32, 64)),
        ((40, 20), (40, 20)),
        ((64, 64), (64, 64)),
        ((3000, 1), (64, 1)),
        ((1, 1), (1, 1)),
    ],
)
def test_inside_a_picture_keeps_its_shape_and_is_never_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    content = io.BytesIO()
    Image.new("RGB", size, "red").save(content, "PNG")
    view = View(width=64, height=64, fit="inside")

    framed = images.framed(content.getvalue(), view, Limits())

    assert (framed.image.size, framed.whole) == (expected, size)


def test_inside_a_small_picture_keeps_each_pixel() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "PNG")

    framed = images.framed(content.getvalue(), View(width=64, height=64, fit="inside"), Limits())

    assert (np.asarray(framed.image) == noise).all()


def test_a_lying_picture_is_measured_upright() -> None:
    content = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (400, 200), "red").save(content, "JPEG", exif=exif)

    framed = images.framed(content.getvalue(), View(width=64, height=64, fit="inside"), Limits())

    assert (framed.image.size, framed.whole) == ((32, 64), (200, 400))
