"""Every kind of file, whole and damaged, through real decode children."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import CallerError, ImageUndecodable
from shared.schemas.base import IMAGE_FORMATS
from shared.settings import Limits
from worker.media import Decoder, images
from worker.media.views import View

VIEW = View(width=32, height=24)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def outcome_of(decode: Callable[..., Any], *arguments: Any) -> Any:
    """Return the picture, or the error that the caller is told."""
    try:
        return decode(*arguments)
    except CallerError as error:
        return error


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(children=1, memory_bytes=2**30, seconds=20.0, limits=Limits())
    decoder.start()
    yield decoder
    decoder.close()


def every_kind_of_file() -> Iterator[tuple[str, bytes]]:
    """Each format in each mode it can hold, turned, animated, transparent, broken off."""
    noise = Image.merge("RGB", [Image.effect_noise((40, 30), 60)] * 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in [*IMAGE_FORMATS.values(), "MPO"]:
        for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"):
            for name, options in {
                "plain": {},
                "turned": {"exif": exif},
                "animated": {"save_all": True, "append_images": [noise]},
                "transparent": {"transparency": 0},
            }.items():
                image = noise.convert("L" if mode in ("LA", "I", "F") else "RGB")
                if mode == "LAB":
                    image = Image.merge("LAB", noise.split())
                elif mode == "PA":
                    image = noise.convert("P").convert("PA")
                else:
                    image = image.convert(mode)
                try:
                    content = encoded(image, kind, **options)
                except (OSError, ValueError, KeyError, TypeError):
                    continue
                yield f"{kind}-{mode}-{name}", content
                yield f"{kind}-{mode}-{name}-half", content[: len(content) // 2]


def test_a_confined_child_decodes_all_that_this_process_does(decoder: Decoder) -> None:
    """A child can import nothing any more: whatever Pillow imports late, it must hold from the start."""
    seen = 0
    for name, content in every_kind_of_file():
        outcome = outcome_of(decoder.decode, content, VIEW)
        expected = outcome_of(images.decode, content, VIEW, Limits())
        if isinstance(expected, CallerError):
            assert repr(outcome) == repr(expected), name
        else:
            assert np.array_equal(outcome, np.asarray(expected)), name
        seen += 1
    assert seen > 300


SAMPLES = {kind: encoded(Image.effect_noise((40, 30), 60), kind) for kind in IMAGE_FORMATS.values()}


@given(
    kind=st.sampled_from(sorted(SAMPLES)),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    keep=st.floats(0, 1),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_damage_gives_a_picture_or_the_callers_error(
    decoder: Decoder, kind: str, damage: list[tuple[float, int]], keep: float
) -> None:
    content = bytearray(SAMPLES[kind])
    for place, value in damage:
        content[int(place * len(content))] = value
    content = content[: max(1, int(keep * len(content)))]
    outcome = outcome_of(decoder.decode, bytes(content), VIEW)
    if isinstance(outcome, CallerError):
        assert outcome.message
        assert not isinstance(outcome, ImageUndecodable), "no damage may cost a child"
    else:
        assert outcome.shape == (24, 32, 3)
