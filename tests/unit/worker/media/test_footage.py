"""A film's frames and their times, and every way in which a film is none."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from shared.errors import (
    CallerError,
    VideoCorrupt,
    VideoFormatForbidden,
    VideoNotRecognized,
    VideoTooLarge,
)
from tests.films import bikes, film, scene
from worker.media.footage import Footage
from worker.media.screening import FilmLimits

LIMITS = FilmLimits(pixels=1_000_000, seconds=3600.0, samples=1000)
SECOND = [scene(40)] * 25


def times(content: bytes, limits: FilmLimits = LIMITS) -> list[float]:
    return [time_s for time_s, _ in Footage(io.BytesIO(content), limits)]


def test_a_film_says_how_large_and_how_long_it_is() -> None:
    footage = Footage(io.BytesIO(film(SECOND * 2)), LIMITS)

    assert (footage.title.width, footage.title.height, footage.title.expected_s) == (160, 96, 2.0)
    assert len(list(footage)) == 50
    assert footage.time_s == 2.0


@pytest.mark.parametrize("kind", ["mp4", "mov", "matroska", "avi"])
def test_frames_come_at_their_times(kind: str) -> None:
    assert times(film(SECOND, kind)) == pytest.approx([index / 25 for index in range(25)], abs=1e-3)


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_frames_of_a_variable_rate_come_when_they_are_shown(kind: str) -> None:
    shown = [0.0, 0.1, 2.0, 2.04, 7.5, 7.6]

    assert times(film(SECOND[:6], kind, times=shown)) == pytest.approx(shown, abs=2e-3)


def test_the_film_begins_with_its_first_frame() -> None:
    assert times(film(SECOND[:3], "matroska", times=[5.0, 5.5, 6.0])) == pytest.approx([0, 0.5, 1.0])


@pytest.mark.parametrize(("turned", "dark"), [(0, "left"), (90, "bottom"), (180, "right"), (270, "top")])
def test_a_turned_film_stands_upright(turned: int, dark: str) -> None:
    from worker.media.stills import Still
    from worker.media.views import View

    frame = np.full((96, 160, 3), 230, np.uint8)
    frame[:, :80] = 10
    footage = Footage(io.BytesIO(film([frame] * 3, turned=turned)), LIMITS)
    upright = (160, 96) if turned in (0, 180) else (96, 160)

    shown = Still(next(iter(footage))[1], footage.turn).shown(View(width=40, height=40, fit="stretch"))
    sides = {"left": shown[:, 0], "right": shown[:, -1], "top": shown[0], "bottom": shown[-1]}

    assert (footage.title.width, footage.title.height) == upright
    assert min(sides, key=lambda side: float(sides[side].mean())) == dark


def test_pixels_that_are_no_squares_are_made_squares() -> None:
    wide = Footage(io.BytesIO(film(SECOND, pixel_shape=Fraction(2))), LIMITS)
    absurd = Footage(io.BytesIO(film(SECOND, pixel_shape=Fraction(200))), LIMITS)

    assert (wide.title.width, wide.title.height) == (320, 96)
    assert (absurd.title.width, absurd.title.height) == (160, 96)


def test_sound_beside_the_pictures_is_no_fault() -> None:
    assert len(times(film(SECOND, sound=True))) == 25


def test_sound_alone_is_no_film() -> None:
    with pytest.raises(VideoCorrupt, match="no video stream in it; it is sound alone"):
        Footage(io.BytesIO(film([], sound=True)), LIMITS)


def test_a_film_without_frames_is_none() -> None:
    fragments = film(SECOND, options={"movflags": "frag_keyframe+empty_moov"})
    # What stands before the first fragment: a whole film with a video stream, and nothing in it.
    headers = fragments[: fragments.index(b"moof") - 4]

    with pytest.raises(VideoCorrupt, match="no frame in it"):
        Footage(io.BytesIO(headers), LIMITS)


def test_a_live_stream_that_never_began_is_none() -> None:
    whole = film(SECOND, "matroska")
    length = whole.index(b"\x18\x53\x80\x67") + 4
    first_cluster = whole.index(b"\x1f\x43\xb6\x75")
    headers = whole[:length] + b"\x01" + b"\xff" * 7 + whole[length + 8 : first_cluster]

    with pytest.raises(VideoCorrupt, match="no frame in it"):
        Footage(io.BytesIO(headers), LIMITS)


@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_film_that_is_cut_off_is_refused(kind: str, share: float) -> None:
    whole = film(SECOND, kind)

    with pytest.raises(VideoCorrupt):
        times(whole[: int(len(whole) * share)])


def test_a_film_whose_index_is_gone_is_refused() -> None:
    whole = film(SECOND, "mp4")

    with pytest.raises(VideoCorrupt):
        times(whole[: whole.index(b"moov") - 4])


def test_a_film_that_breaks_in_the_middle_names_the_time() -> None:
    whole = bytearray(film([scene(shade) for shade in range(20, 220, 2)], "avi"))
    # Every picture of its second half is cleared, the structure around them stays.
    place = len(whole) // 2
    while (place := whole.find(b"00dc", place)) >= 0:
        length = struct.unpack_from("<I", whole, place + 4)[0]
        if place + 8 + length < len(whole):
            whole[place + 8 : place + 8 + length] = bytes(length)
        place += 8

    with pytest.raises(VideoCorrupt, match=r"broken at [1-3]\.\d s"):
        times(bytes(whole))


def test_ten_hours_are_too_long_by_the_header_alone() -> None:
    with pytest.raises(VideoTooLarge, match="10 hours long; the limit is 1 hours"):
        Footage(io.BytesIO(film(SECOND[:2], times=[0.0, 36_000.0])), LIMITS)


def lying(content: bytes, milliseconds: float) -> bytes:
    """Return a Matroska film whose header says that it is so long."""
    changed = bytearray(content)
    duration = content.index(b"\x44\x89\x88") + 3
    changed[duration : duration + 8] = struct.pack(">d", milliseconds)
    return bytes(changed)


def test_ten_hours_are_too_long_where_the_header_says_less() -> None:
    content = film(SECOND[:4], "matroska", times=[0.0, 1.0, 36_000.0, 36_001.0])
    footage = Footage(io.BytesIO(lying(content, 1000.0)), LIMITS)
    frames = iter(footage)

    assert footage.title.expected_s == 1.0
    assert [next(frames)[0], next(frames)[0]] == [0.0, 1.0]
    with pytest.raises(VideoTooLarge, match="longer than the limit of 1 hours"):
        next(frames)


def test_the_last_frame_counts_for_as_long_as_it_stays() -> None:
    content = lying(film(SECOND[:2], "matroska", times=[0.0, 1.0]), 10.0)

    with pytest.raises(VideoTooLarge, match="longer than the limit"):
        times(content, FilmLimits(pixels=1_000_000, seconds=1.02, samples=10))


def test_the_cover_of_a_sound_file_is_no_film() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        voice = container.add_stream("aac", rate=8000)
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(scene(50, 64, 48), format="rgb24")
        container.mux(cover.encode(picture))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(voice.encode(sound))
        container.mux(voice.encode())

    with pytest.raises(VideoCorrupt, match="sound alone"):
        Footage(io.BytesIO(buffer.getvalue()), LIMITS)


def test_a_frame_of_too_many_pixels_is_refused_by_the_header() -> None:
    with pytest.raises(VideoTooLarge, match="160x96 px; the limit is 15,000 pixels"):
        Footage(io.BytesIO(film(SECOND)), FilmLimits(pixels=15_000, seconds=10.0, samples=10))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n", VideoFormatForbidden),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", VideoFormatForbidden),
        (b"", VideoNotRecognized),
        (b"just some words", VideoNotRecognized),
    ],
)
def test_what_is_no_film_is_refused(content: bytes, kind: type[CallerError]) -> None:
    with pytest.raises(kind):
        Footage(io.BytesIO(content), LIMITS)


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"RIFF\0\0\0\0AVI LIST",
        b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska",
    ],
)
@pytest.mark.parametrize(
    "rest", [b"", b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n"]
)
def test_a_playlist_dressed_as_a_film_is_no_film(head: bytes, rest: bytes) -> None:
    with pytest.raises(VideoCorrupt):
        Footage(io.BytesIO(head + rest + bytes(200)), LIMITS)


def test_a_codec_that_nobody_needs_is_refused() -> None:
    whole = film(SECOND, "avi")
    odd = whole.replace(b"FMP4", b"SMC ").replace(b"fmp4", b"SMC ")

    with pytest.raises(VideoFormatForbidden, match="coded in"):
        Footage(io.BytesIO(odd), LIMITS)


def damaged(content: bytes, seed: int) -> bytes:
    """Return the film with a few of its bytes changed."""
    random = np.random.default_rng(seed)
    changed = bytearray(content)
    for place in random.integers(0, len(content), 1 + seed % 30):
        changed[place] = int(random.integers(256))
    return bytes(changed)


@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
def test_a_damaged_film_is_read_or_refused_and_nothing_else(kind: str) -> None:
    whole = film([scene(shade) for shade in (30, 60, 90, 120, 150)] * 2, kind)
    outcomes = [_outcome(damaged(whole, seed)) for seed in range(60)]

    assert {"read", "refused"} == set(outcomes)


def _outcome(content: bytes) -> str:
    try:
        shown: Sequence[float] = times(content)
    except CallerError:
        return "refused"
    assert list(shown) == sorted(shown)
    return "read"


def test_a_real_film_has_its_frames() -> None:
    shown = times(bikes().read_bytes())

    assert len(shown) == 250
    assert shown == pytest.approx([index / 25 for index in range(250)])
