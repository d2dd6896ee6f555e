"""Stage four: pictures that show where something is."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from worker.media.views import View
from worker.models.capabilities import Box, Pixels

#: What results are drawn on: the whole picture, large enough to look at.
CANVAS = View(width=1024, height=1024, fit="inside")

#: From cold to hot in equal steps of lightness, so that it reads in grey as well: a path of our own from near
#: black through violet and red to pale yellow, L* of CIELAB from 5 to 95 in steps of 15.
_COLOURS = np.array(
    [
        (14, 14, 32),
        (61, 18, 99),
        (128, 24, 119),
        (194, 42, 95),
        (237, 92, 56),
        (250, 158, 44),
        (252, 236, 148),
    ],
    dtype=np.float32,
)
#: How much of the picture the hottest place hides.
_OPACITY = 0.65
#: A picture's label is as high as this share of its longer side, within these limits in pixels.
_TEXT_SHARE = 1 / 45
_TEXT_PIXELS = (10, 22)
#: What a label may take of the picture's width, and how many characters at the very most.
_MOST_WIDTH = 0.6
_MOST_CHARS = 60
#: The golden ratio's turn puts each hue far from those before it.
_TURN = 0.618034


#: Left, top, right and bottom in pixels, the last ones included.
Corners = tuple[int, int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Marked:
    """A box to be drawn."""

    text: str
    #: Boxes of one kind have one colour.
    kind: str
    box: Box


def heat_map(heat: NDArray[np.float32], width: int, height: int) -> Pixels:
    """Return the heat as colours, from near black at 0 to pale yellow at 1."""
    return _coloured(_enlarged(heat, width, height))


def overlay(picture: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """Return the picture under its heat; where that is 0 the picture stays as it is."""
    height, width = picture.shape[:2]
    smooth = _enlarged(heat, width, height)
    opacity = _OPACITY * smooth[..., None]
    mixed: Pixels = np.rint(picture * (1 - opacity) + _coloured(smooth) * opacity).astype(np.uint8)
    return mixed


def annotated(picture: Pixels, marks: Sequence[Marked]) -> Pixels:
    """Return the picture with a box and a label for each mark, the first on top."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    low, high = _TEXT_PIXELS
    font = ImageFont.load_default(min(max(max(image.size) * _TEXT_SHARE, low), high))
    colours = _colours(marks)
    for mark in reversed(marks):
        _draw_box(draw, _corners(mark.box, image.size), colours[mark.kind])
    taken: list[Corners] = []
    for mark in marks:
        text = _fitting(mark.text, font, image.width * _MOST_WIDTH)
        label = _free_place(_corners(mark.box, image.size), _size_of(draw, text, font), image.size, taken)
        draw.rectangle(label, fill=colours[mark.kind])
        draw.text((label[0] + 3, label[1] + 2), text, font=font, fill="black")
        taken.append(label)
    return np.asarray(image)


def _enlarged(heat: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Return the heat at each pixel, float32 of shape (height, width), in [0, 1]."""
    image = Image.fromarray(heat.astype(np.float32))
    smooth: NDArray[np.float32] = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return smooth.clip(0.0, 1.0)


def _coloured(heat: NDArray[np.float32]) -> Pixels:
    steps = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(heat, steps, _COLOURS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _colours(marks: Sequence[Marked]) -> Mapping[str, tuple[int, int, int]]:
    """Return a bright colour for each kind, in the order of their first marks."""
    kinds = dict.fromkeys(mark.kind for mark in marks)
    return {kind: _bright(index * _TURN % 1.0) for index, kind in enumerate(kinds)}


def _bright(hue: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _corners(box: Box, size: tuple[int, int]) -> Corners:
    """Return a box's first and last pixels: inside the picture, and at least one each way."""
    (width, height), (x0, y0, x1, y1) = size, box
    left, top = min(int(x0 * width), width - 1), min(int(y0 * height), height - 1)
    return left, top, max(left, round(x1 * width) - 1), max(top, round(y1 * height) - 1)


def _draw_box(draw: ImageDraw.ImageDraw, corners: Corners, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = corners
    # A dark line on both sides keeps a bright one visible on bright ground.
    draw.rectangle(corners, outline="black", width=4)
    inner = left + 1, top + 1, max(left + 1, right - 1), max(top + 1, bottom - 1)
    draw.rectangle(inner, outline=colour, width=2)


def _size_of(draw: ImageDraw.ImageDraw, text: str, font: Font) -> tuple[int, int]:
    """Return width and height of a label, its edges included."""
    ink = draw.textbbox((0, 0), text, font=font)
    return round(ink[2]) + 6, round(ink[3]) + 5


def _free_place(
    box: Corners, label: tuple[int, int], size: tuple[int, int], taken: Sequence[Corners]
) -> Corners:
    """Return where a label goes: above its box where there is room, else inside; and below other labels."""
    (left, top, _, _), (across, down), (width, height) = box, label, size
    x = max(0, min(left, width - across))
    y = top - down if top >= down else min(top, max(0, height - down))
    # Each label in the way, from the top down, pushes it below itself, until the lower edge is reached.
    for other in sorted(taken, key=lambda other: other[1]):
        beside = x > other[2] or x + across < other[0]
        apart = y > other[3] or y + down < other[1]
        if not beside and not apart and other[3] + 1 + down < height:
            y = other[3] + 1
    return x, y, x + across, y + down


def _fitting(text: str, font: Font, width: float) -> str:
    """Return what of a text fits into the width."""
    text = _drawable(text)
    if len(text) <= _MOST_CHARS and font.getlength(text) <= width:
        return text
    text = text[:_MOST_CHARS]
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _drawable(text: str) -> str:
    """Return the text in what the built-in font can draw: Latin; anything else becomes a question mark."""
    plain = " ".join(text.split())
    return plain.encode("latin-1", "replace").decode("latin-1")
