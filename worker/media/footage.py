"""A film's frames, one after the other, each with its time. In the film's child only: it loads FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO, NoReturn

import av

# PyAV would import these when a film first needs them; once confined, a child can open no file.
import av.audio.codeccontext
import av.logging
import av.subtitles.codeccontext
import av.subtitles.stream
import av.video.codeccontext
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shared.containers import DEMUXERS, START_BYTES, require_container, require_whole
from shared.errors import (
    CallerError,
    VideoCorrupt,
    VideoFormatForbidden,
    VideoTooLarge,
    VideoUndecodable,
)
from worker.media.screening import FilmLimits, Title

#: FFmpeg's decoders that a film may use: what browsers play, and what cameras wrote before them. The other
#: three hundred are code that nobody needs, and attackers look for.
_CODECS = (
    "h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mjpeg", "mpeg1video", "mpeg2video", "h263",
    "msmpeg4v1", "msmpeg4v2", "msmpeg4", "prores", "dvvideo", "theora", "png", "rawvideo", "ffv1",
)  # fmt: skip
_ACCEPTED_CODECS = "H.264, H.265, VP8, VP9, AV1 or MPEG"
_EMPTY = "the video has no frame in it"
#: For a film that does not say how many frames a second it has.
_USUAL_RATE = Fraction(25)
#: Of a time in seconds: what `Cuts` counts in, so that a frame and the cut before it have one time.
_DIGITS = 6
#: A pixel further from a square than this is taken for a mistake.
_MOST_STRETCHED = 4


class Footage:
    """An opened film."""

    def __init__(self, file: BinaryIO, limits: FilmLimits) -> None:
        """Read the header.

        Raises:
            VideoNotRecognized, VideoFormatForbidden, VideoTooLarge: what the header tells.
            VideoCorrupt: it has no picture, or is cut off.
        """
        self._limits = limits
        #: How far the film is decoded; afterwards, how long it was.
        self.time_s = 0.0
        media_type = require_container(file.read(START_BYTES))
        require_whole(file, media_type)
        with self._ffmpeg_may_fail():
            self._container = _opened(file, DEMUXERS[media_type])
        self._stream = self._chosen()
        self.rate = self._rate()
        self._check_header()
        self._frames = self._container.decode(self._stream)
        self._first = self._next()
        if self._first is None:
            raise VideoCorrupt(_EMPTY)
        self._check_size(self._first)
        #: By how much its frames are to be turned to stand upright, counter-clockwise: 0, 90, 180 or 270.
        self.turn = round(self._first.rotation / 90) % 4 * 90
        self._pixel_shape = self._stretch()

    @property
    def title(self) -> Title:
        assert self._first is not None  # noqa: S101  # __init__ saw to it
        width = max(1, round(self._first.width * self._pixel_shape))
        height = self._first.height
        if self.turn in (90, 270):
            width, height = height, width
        return Title(width=width, height=height, expected_s=self._expected_s())

    def __iter__(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield each frame and when it is shown, in seconds from the first; times never go backwards.

        Raises:
            VideoCorrupt: it breaks; names the time.
            VideoTooLarge: it is longer, or a frame is larger, than its header said and the limit allows.
        """
        frame = self._first
        began: float | None = None
        while frame is not None:
            self._check_size(frame)
            shown = self._shown_s(frame)
            if began is None:
                began = shown or 0.0
            # A frame that does not say when it is shown comes after the one before it.
            if shown is not None:
                self.time_s = max(self.time_s, round(shown - began, _DIGITS))
            self._check_time()
            yield self.time_s, frame
            lasts = self._lasts_s(frame)
            frame = self._next()
            if frame is None or frame.pts is None:
                self.time_s = round(self.time_s + lasts, _DIGITS)
        self._check_time()

    def _next(self) -> VideoFrame | None:
        with self._ffmpeg_may_fail():
            try:
                return next(self._frames, None)
            except av.error.EOFError:
                return None

    def _chosen(self) -> VideoStream:
        for stream in self._container.streams.video:
            # The cover of a sound file is a film of one frame to FFmpeg.
            if not stream.disposition & Disposition.attached_pic:
                break
        else:
            sound = "; it is sound alone" if self._container.streams.audio else ""
            raise VideoCorrupt(f"there is no video stream in it{sound}")
        context = stream.codec_context
        if context is None or context.name not in _CODECS:
            name = "an unknown codec" if context is None else context.name
            raise VideoFormatForbidden(f"the video is coded in {name}; send {_ACCEPTED_CODECS}")
        # Threads would take memory that grows with their number, and the models' cores.
        context.thread_type = "NONE"
        context.thread_count = 1
        return stream

    def _rate(self) -> Fraction:
        rate = self._stream.average_rate or self._stream.guessed_rate
        return Fraction(rate) if rate else _USUAL_RATE

    def _check_header(self) -> None:
        expected = self._expected_s()
        if expected is not None and expected > self._limits.seconds:
            raise VideoTooLarge(
                f"the video is {_spoken(expected)} long; the limit is {_spoken(self._limits.seconds)}"
            )
        self._check_size(self._stream.codec_context)

    def _expected_s(self) -> float | None:
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        duration = self._container.duration
        return None if duration is None else duration / av.time_base

    def _check_size(self, shown: Any) -> None:
        if shown.width * shown.height > self._limits.pixels:
            raise VideoTooLarge(
                f"the video is {shown.width}x{shown.height} px; the limit is {self._limits.pixels:,} pixels"
            )

    def _check_time(self) -> None:
        if self.time_s > self._limits.seconds:
            raise VideoTooLarge(f"the video is longer than the limit of {_spoken(self._limits.seconds)}")

    def _shown_s(self, frame: VideoFrame) -> float | None:
        return None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)

    def _lasts_s(self, frame: VideoFrame) -> float:
        if frame.duration and frame.time_base is not None:
            return float(frame.duration * frame.time_base)
        return float(1 / self.rate)

    def _stretch(self) -> float:
        """Return how many times wider than high a pixel is, as films from tape have it."""
        ratio = self._stream.sample_aspect_ratio
        if not ratio or not 1 / _MOST_STRETCHED <= ratio <= _MOST_STRETCHED:
            return 1.0
        return float(ratio)

    @contextmanager
    def _ffmpeg_may_fail(self) -> Iterator[None]:
        """Name what FFmpeg raises at a hostile file."""
        try:
            yield
        except CallerError:
            raise
        except MemoryError as error:
            raise VideoUndecodable("decoding the video needs more memory than one video may have") from error
        except av.error.EOFError as error:
            raise VideoCorrupt(_EMPTY) from error
        except (av.error.FFmpegError, ValueError, OverflowError, ZeroDivisionError) as error:
            at = f" at {self.time_s:.1f} s" if self.time_s else ""
            raise VideoCorrupt(f"the video is truncated or broken{at}: {_reason(error)}") from error


def _opened(file: BinaryIO, demuxer: str) -> av.container.InputContainer:
    container: av.container.InputContainer = av.open(
        file,
        "r",
        format=demuxer,
        io_open=_open_nothing,
        metadata_errors="replace",
        container_options={
            "protocol_whitelist": "none",
            "format_whitelist": demuxer,
            "codec_whitelist": ",".join(_CODECS),
        }
        | ({"enable_drefs": "0", "use_absolute_path": "0"} if demuxer == "mov" else {}),
    )
    return container


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> NoReturn:  # noqa: ARG001  # FFmpeg's words
    """Refuse a film that names other files."""
    raise VideoFormatForbidden("the video names other files as parts of it; send one that holds its own")


def _spoken(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 3600 else f"{seconds:.3g} s"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
