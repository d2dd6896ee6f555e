"""Where a film's shots begin. In the film's child only: it loads OpenCV."""

from __future__ import annotations

from fractions import Fraction

import cv2
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detector import SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

#: A frame is compared at this width: what PySceneDetect itself shrinks to.
_WIDTH = 256
#: Below so many frames a second all frames differ from each other, and none stands out among its neighbours.
_LEAST_ADAPTIVE_RATE = 8
#: Cuts that follow each other faster are a flash.
_LEAST_SHOT_S = 0.4
_TICKS_A_SECOND = 1_000_000


def _detector(rate: Fraction) -> SceneDetector:
    """Return what finds cuts: changes that stand out where the camera moves too, or else large changes."""
    if rate >= _LEAST_ADAPTIVE_RATE:
        return AdaptiveDetector(min_scene_len=_LEAST_SHOT_S)
    return ContentDetector(min_scene_len=_LEAST_SHOT_S)


class Cuts:
    """Looks at every frame, in order, and finds those that begin a shot."""

    def __init__(self, width: int, height: int, rate: Fraction) -> None:
        """Take the film's size and its frames a second."""
        cv2.setNumThreads(1)
        self._size = _WIDTH, max(2, round(_WIDTH * height / width))
        self._rate = rate
        self._detector = _detector(rate)
        self._reformatter = VideoReformatter()

    def look(self, time_s: float, frame: VideoFrame) -> list[float]:
        """Return the times of the cuts that this frame proves: its own, or one a little earlier."""
        width, height = self._size
        small = self._reformatter.reformat(
            frame, width, height, "bgr24", interpolation="FAST_BILINEAR", threads=1
        )
        when = FrameTimecode(
            Timecode(round(time_s * _TICKS_A_SECOND), Fraction(1, _TICKS_A_SECOND)), self._rate
        )
        return [cut.seconds for cut in self._detector.process_frame(when, small.to_ndarray())]
