"""From pixels that a worker made to picture files."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.jobs import MOST_PREVIEW_CHARS

#: Longer side of a preview, and its JPEG qualities: the first whose file is small enough is taken.
_PREVIEW_SIDE = 192
_PREVIEW_QUALITIES = (80, 60, 40, 20)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file of pixels (height, width, 3) or, in grey, (height, width)."""
    return _file(Image.fromarray(pixels), "PNG")


def jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Return a JPEG file of pixels (height, width, 3); colours are kept at full size."""
    return _file(Image.fromarray(pixels), "JPEG", quality=quality, subsampling=0)


def preview_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a small picture of these as a `data:` URI; empty where none is small enough."""
    image = Image.fromarray(pixels)
    image.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    for quality in _PREVIEW_QUALITIES:
        uri = f"data:image/jpeg;base64,{base64.b64encode(_file(image, 'JPEG', quality=quality)).decode()}"
        if len(uri) <= MOST_PREVIEW_CHARS:
            return uri
    return ""


def _file(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
