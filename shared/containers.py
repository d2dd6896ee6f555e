"""What kind of film file it is, from its first bytes; and whether it is all there. Nothing is decoded.

The API asks at the door, the worker before it decodes; what a name or a caller says counts for nothing.
FFmpeg is told which of its readers to use: left to guess, it takes a playlist for a film, and opens whatever
the playlist names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from shared.errors import VideoCorrupt, VideoFormatForbidden, VideoNotRecognized

#: As many bytes as `container_of` wants to see.
START_BYTES = 4096
#: What a film may be: media type to FFmpeg's reader.
DEMUXERS: Mapping[str, str] = {
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
}
_ACCEPTED = "MP4, MOV, WEBM, MKV or AVI"

_EBML = b"\x1a\x45\xdf\xa3"
#: The EBML element that says which of its dialects follows (RFC 8794), within the header.
_DOC_TYPE = re.compile(rb"\x42\x82[\x80-\xff](matroska|webm)")
#: Boxes that a QuickTime file from before `ftyp` begins with.
_OLD_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
#: Brands of pictures in the same boxes.
_PICTURE_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
#: And of sound.
_SOUND_BRANDS = {b"M4A ", b"M4B "}
#: What is named when it is refused, by how it begins, marks of order and blanks aside.
_FORBIDDEN = (
    (re.compile(rb"#EXTM3U"), "a playlist (HLS)"),
    (re.compile(rb"ffconcat"), "a playlist (concat)"),
    (re.compile(rb"\[playlist\]", re.IGNORECASE), "a playlist (PLS)"),
    (re.compile(rb"<(.*?<)?MPD", re.DOTALL), "a playlist (DASH)"),
    (re.compile(rb"<"), "a document (XML or HTML)"),
    (re.compile(rb"v=0\r?\n"), "a stream description (SDP)"),
    (re.compile(rb"FLV\x01"), "FLV"),
    (re.compile(rb"OggS"), "Ogg"),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "ASF or WMV"),
    (re.compile(rb"\x00\x00\x01\xba"), "an MPEG program stream"),
    (re.compile(rb"\x47.{187}\x47", re.DOTALL), "an MPEG transport stream"),
    (re.compile(rb"GIF8"), "a GIF picture"),
    (re.compile(rb"\x89PNG|\xff\xd8\xff|RIFF.{4}WEBP", re.DOTALL), "a picture"),
    (re.compile(rb"ID3|\xff[\xfb\xf3\xf2]|fLaC|RIFF.{4}WAVE", re.DOTALL), "a sound file"),
)


def container_of(start: bytes) -> str | None:
    """Return the media type of a file that begins so, one of `DEMUXERS`; None: no film that we take."""
    if start[:4] == _EBML:
        found = _DOC_TYPE.search(start[:64])
        return None if found is None else {b"webm": "video/webm"}.get(found[1], "video/x-matroska")
    if start[:4] == b"RIFF" and start[8:11] == b"AVI":
        return "video/x-msvideo"
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        if brand in _PICTURE_BRANDS | _SOUND_BRANDS:
            return None
        return "video/quicktime" if brand == b"qt  " else "video/mp4"
    return "video/quicktime" if start[4:8] in _OLD_QUICKTIME else None


def require_container(start: bytes) -> str:
    """Return the media type of a file that begins so.

    Raises:
        VideoFormatForbidden: it is something that we know and do not take, a playlist for one.
        VideoNotRecognized: we do not know what it is.
    """
    media_type = container_of(start)
    if media_type is not None:
        return media_type
    if found := _forbidden(start):
        raise VideoFormatForbidden(f"{found} is not accepted as a video; send {_ACCEPTED}")
    raise VideoNotRecognized(f"these bytes are no video we know; send {_ACCEPTED}")


def require_whole(file: BinaryIO, media_type: str) -> None:
    """Look whether the file is as long as its own outermost parts say; leaves it at its start.

    FFmpeg plays what is there of a film that was cut off, and then says that it ended.

    Raises:
        VideoCorrupt: it is cut off.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    needed = max(_ends(file, media_type, size), default=0)
    file.seek(0)
    if needed > size:
        raise VideoCorrupt(f"the video is cut off: {size:,} bytes of at least {needed:,}")


def _forbidden(start: bytes) -> str | None:
    if start[4:8] == b"ftyp":
        return "a sound file" if start[8:12] in _SOUND_BRANDS else "a HEIC or AVIF picture"
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((name for pattern, name in _FORBIDDEN if pattern.match(start)), None)


def _ends(file: BinaryIO, media_type: str, size: int) -> Iterator[int]:
    """Yield where each outermost part that says its size ends."""
    match DEMUXERS[media_type]:
        case "mov":
            yield from _ends_of_boxes(file, size)
        case "avi":
            yield from _ends_of_riffs(file, size)
        case _:
            yield from _end_of_segment(file)


def _ends_of_boxes(file: BinaryIO, size: int) -> Iterator[int]:
    """ISO/IEC 14496-12, 4.2: 32 bits of size and a name; size 1: 64 bits follow; 0: until the file ends."""
    place = 0
    while place < size:
        file.seek(place)
        header = file.read(16)
        length = int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:16])
        # Some writers end with a few zero bytes, which are no box.
        if length < 8:
            return
        place += length
        yield place


def _ends_of_riffs(file: BinaryIO, size: int) -> Iterator[int]:
    """RIFF: a name and 32 bits of size, little-endian; a long AVI has several. Unknown: 0 or all ones."""
    place = 0
    while place < size:
        file.seek(place)
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length in (0, 2**32 - 1):
            return
        place += 8 + length + length % 2
        yield place - length % 2


def _end_of_segment(file: BinaryIO) -> Iterator[int]:
    """RFC 8794: the header's size, then the segment's; all ones: until the file ends."""
    file.seek(len(_EBML))
    header = _read_size(file)
    if header is None:
        return
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return
    length = _read_size(file)
    if length is not None:
        yield file.tell() + length


def _read_size(file: BinaryIO) -> int | None:
    """Return the EBML number that the file stands at; None: it says that nobody knew."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more)) & (2**bits - 1)
    return None if value == 2**bits - 1 else value
