"""Stage one of a film: what the encoder sees in its frames and what its shots are about, as it is decoded."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise

from shared.schemas.base import VideoRef
from worker.media import screening
from worker.media.screening import Part, Title, Wanted
from worker.models.capabilities import (
    Captioner,
    CaptionRequest,
    ClipRequest,
    ImageEncoder,
    ImageFeatures,
    Pixels,
    Scored,
    VideoClassifier,
)
from worker.pipeline import Work
from worker.stages.contact_sheet import CELL_VIEW, MOST_CELLS
from worker.stages.output import ranking
from worker.stages.watching import Span

#: Frames that go to the device together; between two such groups other jobs have their turn.
_TOGETHER = 8
#: Shots that are put into words together.
_SHOTS_TOGETHER = 4
#: The longest caption of a shot.
_CAPTION_TOKENS = 40
#: Where a shot's stills are, in `_wanted`.
_SAMPLE, _CELL, _CAPTION = range(3)


@dataclass(slots=True)
class Viewed:
    """What is kept of a film: of its frames what the encoder sees, and of each shot a little."""

    title: Title
    duration_s: float = 0.0
    #: When each frame is, and what is seen there; in the film's order once it has ended, one a shot at least.
    times: list[float] = field(default_factory=list)
    features: list[ImageFeatures] = field(default_factory=list)
    shots: list[Span] = field(default_factory=list)
    #: One for each shot, where there is a captioner.
    captions: list[str] = field(default_factory=list)
    #: What happens in each shot, where there is a classifier of clips.
    actions: list[Scored] = field(default_factory=list)
    #: Of the first shots, for the contact sheet.
    pictures: list[Pixels] = field(default_factory=list)

    def frames_of_shots(self) -> list[slice]:
        """Return which frames each shot has."""
        borders = [bisect_left(self.times, shot.start_s) for shot in self.shots] + [len(self.times)]
        return [slice(first, last) for first, last in pairwise(borders)]


def viewed(work: Work, ref: VideoRef, sample_fps: float) -> Viewed:
    """Return what is seen in a film, looked at so many times a second.

    The device works on what came while the film's child decodes what comes next; no more than a few frames
    are ever held. Reports progress by the film's time, with the last frame as preview.
    """
    with work.film(ref, _wanted(work, sample_fps)) as film:
        viewing = _Viewing(work, film.title)
        for part in film.parts():
            viewing.take(part)
        return viewing.end(film.duration_s)


def _wanted(work: Work, sample_fps: float) -> Wanted:
    """Return what the models of this profile want to see of a film."""
    samples = work.model(ImageEncoder).view
    stills = [samples, CELL_VIEW]
    if work.has(Captioner):
        stills.append(work.model(Captioner).view)
    classifier = work.model(VideoClassifier) if work.has(VideoClassifier) else None
    return Wanted(
        sample_fps=sample_fps,
        samples=samples,
        stills=tuple(stills),
        clip=None if classifier is None else classifier.view,
        clip_frames=0 if classifier is None else classifier.frames,
    )


class _Viewing:
    """Looks at a film as it comes, and keeps what the later stages need."""

    def __init__(self, work: Work, title: Title) -> None:
        self._work = work
        self._has_captioner = work.has(Captioner)
        self._has_classifier = work.has(VideoClassifier)
        self._frames: list[screening.Sample] = []
        self._shots: list[screening.Shot] = []
        #: When each frame that came is, looked at or not yet.
        self._came: list[float] = []
        self._seen = Viewed(title)

    def take(self, part: Part) -> None:
        """Look at what came, with what came before, as soon as it makes a batch."""
        self._frames += part.samples
        self._came += [sample.time_s for sample in part.samples]
        if part.shot is not None:
            self._end_shot(part.shot)
        if len(self._frames) >= _TOGETHER:
            self._look_at_frames()
        if len(self._shots) >= _SHOTS_TOGETHER:
            self._look_at_shots()
        self._report(part)

    def end(self, duration_s: float) -> Viewed:
        """Look at the rest, and return all that was seen."""
        self._look_at_frames()
        self._look_at_shots()
        seen = self._seen
        order = sorted(range(len(seen.times)), key=seen.times.__getitem__)
        seen.times = [seen.times[index] for index in order]
        seen.features = [seen.features[index] for index in order]
        seen.duration_s = duration_s
        return seen

    def _end_shot(self, shot: screening.Shot) -> None:
        self._shots.append(shot)
        first = bisect_left(self._came, shot.start_s)
        if first == len(self._came) or self._came[first] >= shot.end_s:
            # Too short for a frame of the sampling's grid: its still stands for it.
            self._frames.append(screening.Sample(shot.middle_s, shot.stills[_SAMPLE]))
            self._came.insert(first, shot.middle_s)

    def _look_at_frames(self) -> None:
        frames, self._frames = self._frames, []
        self._seen.features += self._work.map(ImageEncoder.encode_images, [one.pixels for one in frames])
        self._seen.times += [one.time_s for one in frames]

    def _look_at_shots(self) -> None:
        shots, self._shots = self._shots, []
        seen = self._seen
        seen.shots += [Span(shot.start_s, shot.end_s) for shot in shots]
        seen.pictures += [shot.stills[_CELL] for shot in shots[: MOST_CELLS - len(seen.pictures)]]
        if self._has_captioner:
            requests = [CaptionRequest(shot.stills[_CAPTION], None, _CAPTION_TOKENS) for shot in shots]
            seen.captions += [one.text for one in self._work.map(Captioner.caption, requests)]
        if self._has_classifier:
            vocabulary = self._work.model(VideoClassifier).vocabulary
            clips = [ClipRequest(shot.clip) for shot in shots if shot.clip is not None]
            found = self._work.map(VideoClassifier.classify_clips, clips)
            seen.actions += [ranking(vocabulary, probabilities, 1)[0] for probabilities in found]

    def _report(self, part: Part) -> None:
        expected = max(self._seen.title.expected_s or 0.0, part.time_s)
        self._work.progress(
            part.time_s / expected if expected else 0.0,
            f"{part.time_s:.1f} s of {expected:.1f} s",
            part.samples[-1].pixels if part.samples else None,
        )
