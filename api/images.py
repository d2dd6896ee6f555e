"""What an image's header tells, without decoding: format, width, height.

The readers never raise on hostile bytes and take time in the length of the header only. The worker
checks everything again with a real decoder, in a process of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import filetype

from shared.errors import ImageFormatForbidden, ImageNotRecognized, ImageTooLarge
from shared.settings import Limits

ACCEPTED = "JPEG, PNG, WEBP, GIF, BMP or TIFF"

_Size = tuple[int, int]

#: Formats that people take for images, and that no decoder here will ever open.
_DRAWINGS = {"application/pdf", "application/postscript", "image/svg+xml"}
#: Segments before a JPEG's frame header; files with large profiles have a few hundred.
_JPEG_SEGMENTS = 4_096
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_ENDS = frozenset({0xD9, 0xDA})
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_FORMATS = {3: "H", 4: "L"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """An accepted image, as its header describes it; sides in pixels, before any EXIF rotation."""

    media_type: str
    width: int
    height: int


def inspect(content: bytes, limits: Limits) -> Header:
    """Return an image's header.

    Raises:
        ImageNotRecognized: it is no image, or its header is broken.
        ImageFormatForbidden: it is an image of a format we do not decode.
        ImageTooLarge: the picture has too many pixels, or is too long on one side.
    """
    found = next(((name, read) for name, begins, read in _READERS if begins(content)), None)
    if found is None:
        raise _unreadable(content)
    media_type, read = found
    size = _read(read, content)
    if size is None or min(size) <= 0:
        raise ImageNotRecognized(f"the file begins like {media_type} but its header is broken")
    width, height = size
    if max(width, height) > limits.image_side:
        raise ImageTooLarge(f"image is {width}x{height} px; the limit is {limits.image_side:,} px a side")
    if width * height > limits.image_pixels:
        raise ImageTooLarge(
            f"image is {width}x{height} px; the limit is {limits.image_pixels / 1e6:g} megapixels"
        )
    return Header(media_type=media_type, width=width, height=height)


def _read(read: Callable[[bytes], _Size | None], content: bytes) -> _Size | None:
    """Run a reader; a header that ends early is a broken one."""
    try:
        return read(content)
    except (struct.error, IndexError):
        return None


def _unreadable(content: bytes) -> ImageNotRecognized | ImageFormatForbidden:
    found = _guess(content)
    if found.startswith("image/") or found in _DRAWINGS:
        return ImageFormatForbidden(f"{found} is not accepted; send {ACCEPTED}")
    what = f"this is {found}, not an image" if found else "this is not an image"
    return ImageNotRecognized(f"{what}; send {ACCEPTED}")


def _guess(content: bytes) -> str:
    start = content[:8192]
    if b"<svg" in start[:1024].lower():
        return "image/svg+xml"
    return filetype.guess_mime(start) or ""


def _png(content: bytes) -> _Size | None:
    width, height = struct.unpack_from(">II", content, 16)
    return (width, height) if content[12:16] == b"IHDR" else None


def _gif(content: bytes) -> _Size:
    width, height = struct.unpack_from("<HH", content, 6)
    return width, height


def _bmp(content: bytes) -> _Size:
    (header_bytes,) = struct.unpack_from("<I", content, 14)
    # The OS/2 header has short sides; a negative height means that the first row is the top one.
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", content, 18)
    return width, abs(height)


def _webp(content: bytes) -> _Size | None:
    chunk = content[12:16]
    if chunk == b"VP8X":
        return (int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1)
    if chunk == b"VP8L" and content[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and content[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", content, 26)
        # The two upper bits ask the player to scale.
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(content: bytes) -> _Size | None:
    at = 2
    for _ in range(_JPEG_SEGMENTS):
        at = content.find(b"\xff", at)
        while at >= 0 and content[at] == 0xFF:
            at += 1
        if at < 0:
            return None
        marker, at = content[at], at + 1
        if marker in _JPEG_ENDS:
            return None
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 3)
            return width, height
        if marker and marker not in _JPEG_BARE:
            at += max(2, struct.unpack_from(">H", content, at)[0])
    return None


def _tiff(content: bytes) -> _Size | None:
    order = "<" if content[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "L", content, 4)
    (entries,) = struct.unpack_from(order + "H", content, at)
    sides: dict[int, int] = {}
    for entry in range(entries):
        tag, kind = struct.unpack_from(order + "HH", content, at + 2 + 12 * entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT) and kind in _TIFF_FORMATS:
            (sides[tag],) = struct.unpack_from(order + _TIFF_FORMATS[kind], content, at + 10 + 12 * entry)
        if len(sides) == 2:
            return sides[_TIFF_WIDTH], sides[_TIFF_HEIGHT]
    return None


_READERS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], _Size | None]], ...] = (
    ("image/jpeg", lambda content: content[:3] == b"\xff\xd8\xff", _jpeg),
    ("image/png", lambda content: content[:8] == b"\x89PNG\r\n\x1a\n", _png),
    ("image/webp", lambda content: content[:4] == b"RIFF" and content[8:12] == b"WEBP", _webp),
    ("image/gif", lambda content: content[:6] in (b"GIF87a", b"GIF89a"), _gif),
    ("image/bmp", lambda content: content[:2] == b"BM", _bmp),
    ("image/tiff", lambda content: content[:4] in (b"II*\0", b"MM\0*"), _tiff),
)
