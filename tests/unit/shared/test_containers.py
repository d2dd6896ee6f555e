"""What kind of film a file is, and whether all of it is there, from its bytes alone."""

from __future__ import annotations

import io

import pytest

from shared.containers import START_BYTES, container_of, require_container, require_whole
from shared.errors import VideoCorrupt, VideoFormatForbidden, VideoNotRecognized
from tests.films import bikes, film, scene

FRAMES = [scene(40)] * 12 + [scene(200)] * 12
KINDS = {
    "mp4": ("video/mp4", "mpeg4"),
    "mov": ("video/quicktime", "mpeg4"),
    "matroska": ("video/x-matroska", "mpeg4"),
    "webm": ("video/webm", "libvpx"),
    "avi": ("video/x-msvideo", "mpeg4"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_film_is_known_by_its_first_bytes(kind: str) -> None:
    media_type, codec = KINDS[kind]

    assert container_of(film(FRAMES, kind, codec=codec)[:START_BYTES]) == media_type


@pytest.mark.parametrize("name", ["moov", "mdat", "wide", "free"])
def test_a_film_from_before_brands_is_quicktime(name: str) -> None:
    assert container_of(b"\0\0\0\x08" + name.encode() + b"\0" * 100) == "video/quicktime"


@pytest.mark.parametrize(
    ("start", "named"),
    [
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\nfile:///etc/passwd\n", "playlist"),
        (b"\xef\xbb\xbf#EXTM3U\n", "playlist"),
        (b"\n ffconcat version 1.0\nfile '/etc/passwd'\n", "playlist"),
        (b"[Playlist]\nFile1=/etc/passwd\n", "playlist"),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">', "playlist"),
        (b"<html><body>not found</body></html>", "document"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "stream description"),
        (b"FLV\x01\x05\0\0\0\x09", "FLV"),
        (b"OggS\0\x02", "Ogg"),
        (b"\x47" + bytes(187) + b"\x47" + bytes(187), "transport stream"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"RIFF\0\0\0\0WAVEfmt ", "sound"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "picture"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
    ],
)
def test_what_is_no_film_is_named_when_it_is_refused(start: bytes, named: str) -> None:
    assert container_of(start) is None
    with pytest.raises(VideoFormatForbidden, match=named):
        require_container(start)


@pytest.mark.parametrize("start", [b"", b"\0", b"hello", bytes(START_BYTES), b"\x1a\x45\xdf\xa3 no type"])
def test_bytes_that_nobody_knows_are_not_recognized(start: bytes) -> None:
    with pytest.raises(VideoNotRecognized, match="send MP4"):
        require_container(start)


@pytest.mark.parametrize("kind", KINDS)
def test_a_film_cut_off_anywhere_is_found_out(kind: str) -> None:
    media_type, codec = KINDS[kind]

    _require_only_the_whole(film(FRAMES, kind, codec=codec), media_type)


def test_a_film_in_fragments_is_found_out_too() -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}

    _require_only_the_whole(film(FRAMES, options=options), "video/mp4")


def _require_only_the_whole(content: bytes, media_type: str) -> None:
    require_whole(io.BytesIO(content), media_type)
    for share in (0.5, 0.9, 0.99):
        with pytest.raises(VideoCorrupt, match="cut off"):
            require_whole(io.BytesIO(content[: int(len(content) * share)]), media_type)


def test_a_real_film_is_whole_and_is_left_at_its_start() -> None:
    with bikes().open("rb") as file:
        require_whole(file, "video/mp4")

        assert file.tell() == 0


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"\0\0\0\0mdat" + bytes(100), "video/mp4"),
        (b"\0\0\0\x0cfree1234" + bytes(6), "video/mp4"),
        (b"RIFF\0\0\0\0AVI " + bytes(50), "video/x-msvideo"),
        (b"RIFF\xff\xff\xff\xffAVI " + bytes(50), "video/x-msvideo"),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(9), "video/webm"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x00", "video/webm"),
    ],
)
def test_a_length_that_nobody_wrote_down_is_no_fault(content: bytes, media_type: str) -> None:
    require_whole(io.BytesIO(content), media_type)
