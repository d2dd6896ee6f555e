from __future__ import annotations

import io
import random
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.images import inspect
from shared.errors import ImageFormatForbidden, ImageNotRecognized, ImageRefused, ImageTooLarge
from shared.settings import Limits
from tests.unit.api.pictures import png

LIMITS = Limits()
FORMATS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
}


def encoded(kind: str, width: int, height: int, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (3, 2_000), (2_000, 3)])
def test_each_accepted_format_is_read_as_a_real_encoder_writes_it(kind: str, size: tuple[int, int]) -> None:
    header = inspect(encoded(kind, *size), LIMITS)

    assert (header.media_type, header.width, header.height) == (FORMATS[kind], *size)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"progressive": True}),
        (
            "JPEG",
            {
                "icc_profile": bytes(200_000),
                "exif": b"Exif\0\0" + bytes(60_000),
                "comment": b"\xff\xc0" * 500,
            },
        ),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("GIF", {"save_all": True, "append_images": [Image.new("RGB", (70, 50), "red")]}),
    ],
)
def test_variants_of_a_format_are_read_alike(kind: str, options: dict[str, object]) -> None:
    header = inspect(encoded(kind, 70, 50, **options), LIMITS)

    assert (header.width, header.height) == (70, 50)


def test_a_big_endian_tiff_is_read() -> None:
    entries = struct.pack(">HHLHH", 256, 3, 1, 70, 0) + struct.pack(">HHLL", 257, 4, 1, 50)
    header = inspect(b"MM\0*" + struct.pack(">LH", 8, 2) + entries, LIMITS)

    assert (header.width, header.height) == (70, 50)


def test_a_bitmap_with_the_old_header_or_upside_down_is_read() -> None:
    old = b"BM" + bytes(12) + struct.pack("<IHH", 12, 70, 50) + bytes(8)
    down = b"BM" + bytes(12) + struct.pack("<Iii", 40, 70, -50) + bytes(28)

    assert [(inspect(file, LIMITS).width, inspect(file, LIMITS).height) for file in (old, down)] == [
        (70, 50)
    ] * 2


def test_a_gif_wider_than_a_signed_number_is_too_large_not_broken() -> None:
    with pytest.raises(ImageTooLarge, match="60000x60000"):
        inspect(b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(9), LIMITS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x02" + b"\xff" * 100,
        b"\xff\xd8\xff\xd9" + encoded("JPEG", 9, 9),
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        png(0, 5),
        b"GIF89a",
        b"BM",
        b"BMW is a car maker",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*" + struct.pack(">LH", 8, 65_535),
        b"RIFF\0\0\0\0WEBPVP9 " + bytes(40),
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(40),
        b"RIFF\0\0\0\0WAVEfmt ",
        b"PK\x03\x04" + bytes(40),
        b"<html></html>",
    ],
)
def test_what_is_no_whole_image_is_not_recognized(content: bytes) -> None:
    with pytest.raises(ImageNotRecognized):
        inspect(content, LIMITS)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "JPEG2000", "PDF", "EPS", "AVIF"])
def test_another_format_is_not_decoded(kind: str) -> None:
    with pytest.raises(ImageRefused) as refusal:
        inspect(encoded(kind, 9, 9), LIMITS)

    if kind != "PPM":
        assert isinstance(refusal.value, ImageFormatForbidden)


def test_segments_without_end_cost_little_time() -> None:
    began = time.monotonic()

    with pytest.raises(ImageNotRecognized):
        inspect(b"\xff\xd8" + b"\xff\xd0" * 10_000_000, LIMITS)
    with pytest.raises(ImageNotRecognized):
        inspect(b"\xff\xd8\xff" + b"\x00" * 20_000_000, LIMITS)

    assert time.monotonic() - began < 1


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(sorted(FORMATS)), damage=st.integers(0, 30))
def test_a_damaged_header_is_refused_or_read_but_never_an_error(seed: int, kind: str, damage: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # no secret
    content = bytearray(encoded(kind, 20, 10))
    for _ in range(damage):
        content[dice.randrange(min(len(content), 120))] = dice.randrange(256)
    del content[dice.randrange(len(content)) :]

    try:
        header = inspect(bytes(content), LIMITS)
    except ImageRefused:
        return
    assert header.width > 0 < header.height


@settings(max_examples=300, deadline=None)
@given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
         b"RIFF\0\0\0\0WEBP", b"\0\0\0\x18ftyp", b"%PDF", b"PK\x03\x04", b"8BPS", b"\0\0\1\0"]
    ),
    rest=st.binary(max_size=300),
)  # fmt: skip
def test_bytes_are_refused_or_read_but_never_an_error(start: bytes, rest: bytes) -> None:
    try:
        inspect(start + rest, LIMITS)
    except ImageRefused:
        return
