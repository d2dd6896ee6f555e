"""What is sent: photographs of one size and captions, every one unlike all others."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image, ImageOps

PHOTOS = Path(__file__).parents[1] / "client" / "demo" / "photos"
_SIZE = (640, 480)
_QUALITY = 85

_OPENINGS = ("", "a photo of ", "a drawing of ", "an old picture of ", "a painting of ")
_LIGHTS = ("", " at night", " in the rain", " at dawn", " in the soft light of an afternoon")


def pictures(name: str) -> Iterator[bytes]:
    """Yield JPEGs of 640x480 pixels without end; another name gives others, and none is ever the same.

    Ten photographs and one, in turn: only a comment in each file differs, which costs no decoder anything.
    """
    for number, photo in zip(itertools.count(), itertools.cycle(_photographs())):  # both endless
        yield _commented(photo, f"{name} {number}".encode())


def captions() -> Iterator[str]:
    """Yield captions without end, no two alike, always the same ones: every side reads the same words."""
    words = json.loads((PHOTOS / "captions.json").read_text(encoding="utf-8"))
    subjects = [*words["photos"].values(), *words["distractors"]]
    # Subjects change fastest, so that neighbours differ in length as captions do.
    varied = itertools.cycle(itertools.product(_OPENINGS, _LIGHTS, subjects))
    for number, (opening, light, subject) in enumerate(varied):
        yield f"{opening}{subject}{light}, {number}"


def taken(source: Iterator[bytes], count: int) -> list[bytes]:
    """Return the next files."""
    return list(itertools.islice(source, count))


def spoken(source: Iterator[str], count: int) -> list[str]:
    """Return the next texts."""
    return list(itertools.islice(source, count))


def mean_words(count: int = 10_000) -> float:
    """Return how many words a caption has."""
    return sum(len(text.split()) for text in spoken(captions(), count)) / count


@cache
def _photographs() -> list[bytes]:
    return [_resized(path) for path in sorted(PHOTOS.glob("*.jpg"))]


def _resized(path: Path) -> bytes:
    with Image.open(path) as photo:
        fitted = ImageOps.fit(photo.convert("RGB"), _SIZE)
    stream = io.BytesIO()
    fitted.save(stream, format="JPEG", quality=_QUALITY)
    return stream.getvalue()


def _commented(jpeg: bytes, comment: bytes) -> bytes:
    """Return the JPEG with a comment behind its first segment, which must stay the first (JFIF)."""
    behind = 4 + int.from_bytes(jpeg[4:6], "big")
    return b"".join(
        (jpeg[:behind], b"\xff\xfe", (len(comment) + 2).to_bytes(2, "big"), comment, jpeg[behind:])
    )
