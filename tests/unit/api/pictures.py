"""Small pictures, and small files that claim to be large ones."""

from __future__ import annotations

import base64
import struct
import zlib


def png(width: int = 3, height: int = 2) -> bytes:
    """Return a PNG whose header has these sides, whatever its data holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(3 * min(width, 64)) for _ in range(min(height, 64)))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def base64_png(width: int = 3, height: int = 2) -> str:
    return base64.b64encode(png(width, height)).decode()


def mp4(length: int = 64) -> bytes:
    """Return bytes that begin as an MP4 film does."""
    return struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom").ljust(length, b"\0")
