"""From the bytes of an image file to upright RGB pixels in a view, with six of Pillow's plugins."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

# Importing a plugin registers it. Image.open loads all forty when it misses one of those it is asked for.
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from shared.errors import (
    ImageCorrupt,
    ImageFormatForbidden,
    ImageNotRecognized,
    ImageTooLarge,
    ImageUndecodable,
)
from worker.media.views import View, kept, settled

FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
    )
)
#: What Pillow may call an opened file. MPO: a JPEG with more pictures behind it, as many phones write; its
#: first frame is an ordinary JPEG.
_OPENED_AS = {*FORMATS, "MPO"}
_ACCEPTED = "JPEG, PNG, WEBP, GIF, BMP or TIFF"

#: How files begin that people do send and we do not take.
_FORBIDDEN = {
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"<svg": "SVG",
    b"<?xml": "SVG or other XML",
    b"8BPS": "Photoshop",
    b"\x00\x00\x01\x00": "ICO",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"qoif": "QOI",
}
_ISO_MEDIA = re.compile(rb"....ftyp(avi[fs]|hei[cxs]|mif1|msf1)", re.DOTALL)

_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
#: Shrink by whole factors first, down to this many times the view: Pillow calls 3 hardly distinguishable.
_REDUCING_GAP = 3.0
#: Let libjpeg shrink down to this many times the view. On photos, cosine of EfficientNet-Lite0's features and
#: those of a full decode: 0.999 at 1.5, 0.994 at 1. A photo 2100 px high: 9 ms at 1.5, 7 at 1, 22 in full.
_DRAFT_GAP = 1.5

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = {5, 6, 7, 8}


class SizeLimits(Protocol):
    """The part of `shared.settings.Limits` that decoding needs; the children do not load settings."""

    @property
    def image_pixels(self) -> int: ...

    @property
    def image_side(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Framed:
    """A decoded picture as a model wants to see it."""

    image: Image.Image
    #: Width and height of the whole picture, upright, in pixels.
    whole: tuple[int, int]


def decode(content: bytes | bytearray, view: View, limits: SizeLimits) -> Image.Image:
    """Return the picture of `framed`."""
    return framed(content, view, limits).image


def framed(content: bytes | bytearray, view: View, limits: SizeLimits) -> Framed:
    """Return the first frame, upright, on white where it is transparent, RGB, in the view.

    Raises:
        ImageNotRecognized, ImageFormatForbidden, ImageTooLarge: what the header tells, before any pixel.
        ImageCorrupt: the pixels are broken off or broken.
        ImageUndecodable: the pixels do not fit into memory.
    """
    try:
        with _bombs_are_errors(limits), _opened(content) as image:
            _check_size(image, limits)
            whole = _upright_size(image)
            view = settled(view, whole)
            _draft(image, view)
            with _pillow_may_fail():
                image.load()
            return Framed(_framed(image, view), whole)
    except MemoryError as error:
        raise ImageUndecodable("decoding the image needs more memory than one image may have") from error


@contextmanager
def _bombs_are_errors(limits: SizeLimits) -> Iterator[None]:
    """Let Pillow refuse, at our limit and before it allocates, also what only its plugins can see."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = limits.image_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        pixels = re.search(r"\d+", str(error))
        size = f"{int(pixels[0]):,}" if pixels else "too many"
        raise ImageTooLarge(f"image has {size} pixels; the limit is {limits.image_pixels:,}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _opened(content: bytes | bytearray) -> Iterator[Image.Image]:
    try:
        with _pillow_may_fail():
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except ImageNotRecognized:
        if found := _forbidden_format(content):
            raise ImageFormatForbidden(f"{found} is not accepted; send {_ACCEPTED}") from None
        raise
    with image:
        if image.format not in _OPENED_AS:
            raise ImageFormatForbidden(f"{image.format} is not accepted; send {_ACCEPTED}")
        yield image


@contextmanager
def _pillow_may_fail() -> Iterator[None]:
    """Name what Pillow raises at a hostile file: nearly anything."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise ImageNotRecognized(f"these bytes are no image we know; send {_ACCEPTED}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise
    except Exception as error:  # SyntaxError, struct.error, KeyError, ...: all mean a broken file
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        raise ImageCorrupt(f"the image is truncated or broken: {error}") from error


def _forbidden_format(content: bytes | bytearray) -> str | None:
    start = bytes(content[:16])
    if _ISO_MEDIA.match(start):
        return "HEIC or AVIF"
    return next((name for magic, name in _FORBIDDEN.items() if start.startswith(magic)), None)


def _check_size(image: Image.Image, limits: SizeLimits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageCorrupt(f"image is {width}x{height} px; both sides must be at least 1 px")
    if max(width, height) > limits.image_side:
        raise ImageTooLarge(
            f"image is {width}x{height} px; the limit is {limits.image_side:,} px for the longer side"
        )


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation, 1 to 8; 1 when it says nothing sensible, as browsers do."""
    with suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        if orientation in _UPRIGHT:
            return int(orientation)
    return 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) in _LYING else (width, height)


def _frame_size(view: View, orientation: int) -> tuple[int, int]:
    """Return the view's size as the file's own rows and columns lie."""
    return (view.height, view.width) if orientation in _LYING else (view.width, view.height)


def _draft(image: Image.Image, view: View) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size, where that is still large enough for the view."""
    frame = _frame_size(view, _orientation(image))
    left, top, right, bottom = kept(image.size, frame, view)
    scale = _DRAFT_GAP * frame[0] / (right - left), _DRAFT_GAP * frame[1] / (bottom - top)
    image.draft(None, (math.ceil(image.width * scale[0]), math.ceil(image.height * scale[1])))


def _framed(image: Image.Image, view: View) -> Image.Image:
    """Return the loaded picture in the view; it is turned last, when it is small."""
    # Read only now: the TIFF plugin turns the picture itself while it loads.
    orientation = _orientation(image)
    size = _frame_size(view, orientation)
    box = kept(image.size, size, view)
    frame = _flat(image).resize(size, _RESAMPLE[view.resample], box=box, reducing_gap=_REDUCING_GAP)
    frame = _on_white(frame)
    return frame.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else frame


def _flat(image: Image.Image) -> Image.Image:
    """Return RGB, or RGBA when anything is transparent."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    try:
        return image if image.mode == mode else image.convert(mode)
    except ValueError as error:
        raise ImageFormatForbidden(
            f"{image.format} in mode {image.mode} is not accepted; send RGB"
        ) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return deep grey as 8 bits: scaled, where Pillow's own conversion would clip."""
    wide = image.convert("F")
    low, high = (float(value) for value in wide.getextrema())  # type: ignore[arg-type]  # one band: two numbers
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageCorrupt("the image has pixels that are not finite numbers")
    floor, ceiling = _range(image.mode, low, high)
    scale = 255.0 / (ceiling - floor)
    return wide.point(lambda value: value * scale + (0.5 - floor * scale)).convert("L")


def _range(mode: str, low: float, high: float) -> tuple[float, float]:
    """Return which values mean black and white: the depth's own range where the values fit one."""
    if mode.startswith("I;16"):
        return 0.0, 65535.0
    for ceiling in (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0):
        if low >= 0.0 and high <= ceiling:
            return 0.0, ceiling
    return low, high if high > low else low + max(1.0, abs(low))


def _on_white(frame: Image.Image) -> Image.Image:
    if frame.mode != "RGBA":
        return frame
    white = Image.new("RGBA", frame.size, "white")
    return Image.alpha_composite(white, frame).convert("RGB")
