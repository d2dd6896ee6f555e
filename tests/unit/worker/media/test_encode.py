"""Pictures that a worker made, as files."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from shared.jobs import MOST_PREVIEW_CHARS
from worker.media.encode import jpeg, png, preview_uri

NOISE = np.random.default_rng(3).integers(0, 256, (600, 900, 3)).astype(np.uint8)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_png_holds_every_pixel() -> None:
    assert (np.asarray(opened(png(NOISE))) == NOISE).all()
    assert opened(png(NOISE[..., 0])).mode == "L"


def test_a_jpeg_is_nearly_the_picture() -> None:
    smooth = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    assert np.abs(np.asarray(opened(jpeg(smooth))).astype(int) - smooth).max() < 8


def test_a_preview_is_small_whatever_the_picture_is() -> None:
    uri = preview_uri(NOISE)

    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    assert len(uri) <= MOST_PREVIEW_CHARS
    assert max(opened(base64.b64decode(data)).size) <= 192
