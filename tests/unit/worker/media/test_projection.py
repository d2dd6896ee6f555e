"""A film from its first frame to its last: samples, shots, stills and clips, with the real cuts."""

from __future__ import annotations

import io
from collections.abc import Sequence

import av
import numpy as np
import pytest

from shared.errors import VideoTooLarge
from tests.films import BIKES_CUTS, BIKES_TOLERANCE_S, bikes, film, scene
from worker.media.footage import Footage
from worker.media.projection import Projection
from worker.media.screening import SAMPLES_TOGETHER, FilmLimits, Part, Pixels, Sample, Shot, Wanted
from worker.media.views import View

LIMITS = FilmLimits(pixels=1_000_000, seconds=3600.0, samples=1000)
SMALL = View(width=32, height=32, fit="stretch")
INSIDE = View(width=80, height=80, fit="inside")


def parts(
    content: bytes, *, limits: FilmLimits = LIMITS, sample_fps: float = 2.0, clip: int = 0
) -> list[Part]:
    wanted = Wanted(
        sample_fps=sample_fps,
        samples=SMALL,
        stills=(SMALL, INSIDE),
        clip=SMALL if clip else None,
        clip_frames=clip,
    )
    footage = Footage(io.BytesIO(content), limits)
    return list(Projection(footage, wanted, limits).parts())


def shots(found: Sequence[Part]) -> list[Shot]:
    return [part.shot for part in found if part.shot is not None]


def samples(found: Sequence[Part]) -> list[Sample]:
    return [sample for part in found for sample in part.samples]


def shade(pixels: Pixels) -> float:
    return float(pixels.mean())


HALVES = ((60, (160, 96)), (190, (320, 192)))
SCENES = [scene(50)] * 30 + [scene(120)] * 50 + [scene(190)] * 45


def test_the_shots_of_a_real_film_are_its_real_cuts() -> None:
    found = shots(parts(bikes().read_bytes()))

    assert [shot.start_s for shot in found] == pytest.approx([0.0, *BIKES_CUTS], abs=BIKES_TOLERANCE_S)
    assert [shot.end_s for shot in found] == pytest.approx([*BIKES_CUTS, 10.0], abs=BIKES_TOLERANCE_S)


@pytest.mark.parametrize("kind", ["mp4", "matroska", "avi"])
def test_shots_follow_each_other_without_gaps(kind: str) -> None:
    found = shots(parts(film(SCENES, kind)))

    assert [shot.start_s for shot in found] == pytest.approx([0.0, 1.2, 3.2], abs=2e-3)
    assert [shot.end_s for shot in found[:-1]] == [shot.start_s for shot in found[1:]]
    assert found[-1].end_s == pytest.approx(5.0, abs=0.05)


def test_a_film_without_cuts_is_one_shot() -> None:
    (shot,) = shots(parts(film([scene(100)] * 50)))

    assert (shot.start_s, shot.end_s) == (0.0, 2.0)


def test_a_film_of_one_frame_is_one_shot() -> None:
    found = parts(film([scene(100)], rate=5), clip=4)

    assert [sample.time_s for sample in samples(found)] == [0.0]
    assert [(shot.start_s, shot.end_s) for shot in shots(found)] == [(0.0, pytest.approx(0.2))]
    assert shots(found)[0].clip is not None


def test_pictures_shown_one_after_the_other_are_shots() -> None:
    """A show of slides: every frame differs from its neighbours."""
    slides = film([scene(shade) for shade in (40, 200, 90, 230)], times=[0.0, 3.0, 5.0, 9.0])

    assert [shot.start_s for shot in shots(parts(slides))] == pytest.approx([0.0, 3.0, 5.0, 9.0])


def test_a_moving_camera_is_no_cut() -> None:
    street = np.kron(scene(120, 640, 96), np.ones((1, 1, 1), np.uint8))
    frames = [street[:, 8 * index : 8 * index + 160] for index in range(60)]

    assert len(shots(parts(film(frames)))) == 1


def test_stills_are_of_their_shot_and_near_its_middle() -> None:
    for shot, expected in zip(shots(parts(film(SCENES))), (50, 120, 190), strict=True):
        middle_s = (shot.start_s + shot.end_s) / 2
        assert abs(shot.middle_s - middle_s) <= (shot.end_s - shot.start_s) / 8 + 0.05
        assert [still.shape for still in shot.stills] == [(32, 32, 3), (48, 80, 3)]
        assert [shade(still) for still in shot.stills] == pytest.approx([expected] * 2, abs=12)


def test_a_clip_is_of_its_shot_alone() -> None:
    for shot, expected in zip(shots(parts(film(SCENES), clip=6)), (50, 120, 190), strict=True):
        assert shot.clip is not None
        assert shot.clip.shape == (6, 32, 32, 3)
        assert [shade(frame) for frame in shot.clip] == pytest.approx([expected] * 6, abs=12)


@pytest.mark.parametrize(("sample_fps", "count"), [(0.5, 3), (2.0, 10), (10.0, 50), (30.0, 125)])
def test_frames_are_sampled_at_the_rate_asked_for(sample_fps: float, count: int) -> None:
    found = samples(parts(film(SCENES), sample_fps=sample_fps))
    times = [sample.time_s for sample in found]

    assert len(found) == count
    assert times == pytest.approx([index / min(sample_fps, 25) for index in range(count)], abs=0.04)


def test_a_frame_that_stays_is_sampled_once() -> None:
    slow = film([scene(shade) for shade in (40, 60, 80)], times=[0.0, 0.9, 20.3])

    assert [sample.time_s for sample in samples(parts(slow))] == pytest.approx([0.0, 0.9, 20.3])


def test_parts_are_small_and_come_in_order() -> None:
    found = parts(film(SCENES), sample_fps=30.0)
    times = [sample.time_s for sample in samples(found)]

    assert max(len(part.samples) for part in found) == SAMPLES_TOGETHER
    assert times == sorted(times)
    assert [part.time_s for part in found] == sorted(part.time_s for part in found)


def test_more_frames_than_may_be_looked_at_are_refused() -> None:
    few = FilmLimits(pixels=1_000_000, seconds=3600.0, samples=9)

    with pytest.raises(VideoTooLarge, match="more than 9 frames to look at"):
        parts(film(SCENES), limits=few)


def test_a_film_that_changes_its_size_keeps_its_views() -> None:
    """As calls do that adapt to the line."""
    found = parts(_growing_film())

    assert [shot.start_s for shot in shots(found)] == pytest.approx([0.0, 1.0])
    assert {sample.pixels.shape for sample in samples(found)} == {(32, 32, 3)}
    assert {shot.stills[1].shape for shot in shots(found)} == {(48, 80, 3)}


def _growing_film() -> bytes:
    """Return a film whose second half has twice the size: two films' packets, one behind the other."""
    buffer = io.BytesIO()
    halves = [film([scene(shade, *size)] * 10, "webm", rate=10, codec="libvpx") for shade, size in HALVES]
    with av.open(buffer, "w", format="webm") as target:
        sources = [av.open(io.BytesIO(half)) for half in halves]
        stream = target.add_stream_from_template(sources[0].streams.video[0])
        for index, source in enumerate(sources):
            with source:
                for packet in source.demux(video=0):
                    if packet.pts is not None:
                        packet.pts = packet.dts = packet.pts + 1000 * index
                        packet.stream = stream
                        target.mux(packet)
    return buffer.getvalue()
