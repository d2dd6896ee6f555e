"""The pictures that are sent: 640x480 JPEGs from the demo's photos, each of its own bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps

_PHOTOS = Path(__file__).parents[2] / "client" / "demo" / "photos"
_SIZE = (640, 480)
#: Files of about 60 to 100 kB, as cameras' previews and web pages have them.
_BYTES = range(60_000, 100_000)
_QUALITIES = (80, 88, 93, 96, 70, 60)


def photos() -> list[bytes]:
    """Return one file per photo of the demo."""
    return [_sized(path) for path in sorted(_PHOTOS.glob("*.jpg"))]


def endless(seed: int) -> Iterator[bytes]:
    """Return the photos over and over, never the same bytes twice; another seed, other bytes.

    So no side can answer from what it has seen. What tells them apart is a comment, which costs nothing to
    decode.
    """
    files = enumerate(itertools.cycle(photos()))
    return (_marked(file, f"{seed}/{number}".encode()) for number, file in files)


def _sized(path: Path) -> bytes:
    with Image.open(path) as photo:
        picture = ImageOps.fit(photo.convert("RGB"), _SIZE, Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=quality)
        if len(written.getvalue()) in _BYTES:
            break
    return written.getvalue()


def _marked(file: bytes, comment: bytes) -> bytes:
    """Return the JPEG with a comment segment behind its first marker."""
    return file[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + file[2:]
