"""How a picture is to be shown to a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How a model wants to see a picture; the decode children make it so."""

    width: int
    height: int
    #: `crop`: cover the frame, cut what sticks out; `stretch`: the whole picture, aspect ratio given up;
    #: `inside`: the whole picture, shrunk in its own shape until it fits, never enlarged.
    fit: Literal["crop", "stretch", "inside"] = "crop"
    resample: Literal["bilinear", "bicubic"] = "bicubic"
    #: For `crop`: the share of the covering picture's side that the frame keeps (224 of 256: 0.875).
    crop_fraction: float = 1.0


def inside(view: View, whole: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a picture that is shrunk into the view in its own shape, never enlarged."""
    width, height = whole
    scale = min(1.0, view.width / width, view.height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def settled(view: View, whole: tuple[int, int]) -> View:
    """Return the view of a picture that keeps its shape as one of a known size; others as they are."""
    if view.fit != "inside":
        return view
    width, height = inside(view, whole)
    return replace(view, width=width, height=height, fit="stretch")


def kept(size: tuple[int, int], frame: tuple[int, int], view: View) -> tuple[float, float, float, float]:
    """Return the box of the source, in its pixels, that fills the frame.

    Args:
        size: of the source.
        frame: the view's size, as the source's own rows and columns lie.
        view: `crop` or `stretch`.
    """
    if view.fit == "stretch":
        return (0.0, 0.0, *size)
    scale = min(size[0] / frame[0], size[1] / frame[1]) * view.crop_fraction
    # Rounding may make a side that fits exactly stick out, which Pillow refuses.
    width, height = min(frame[0] * scale, size[0]), min(frame[1] * scale, size[1])
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height
