"""`video`: a film's shots, what they show, and when something that the rules describe happens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.schemas.base import ScoredLabel
from shared.schemas.video import Event, Shot, VideoInput, VideoResult
from worker.models.capabilities import ImageEncoder, JointEncoder, Scored, Vectors
from worker.pipeline import Pipeline, Work
from worker.stages.contact_sheet import contact_sheet
from worker.stages.convert import images_in_joint_space, texts_in_joint_space
from worker.stages.fuse import shares
from worker.stages.output import ranking
from worker.stages.viewing import Viewed, viewed
from worker.stages.watching import Lasting, lastings, match_scores, spans

#: Frames that go to the joint space together: a frame costs little there.
_PROJECTED_TOGETHER = 64
#: Names of a shot: of those given, of the model's own.
_GIVEN_LABELS = 5
_OWN_LABELS = 3
#: A single frame that does not match is no end of an event; in steps of the sampling.
_LONGEST_GAP = 2.0


@dataclass(frozen=True, slots=True)
class Converted:
    """The film's frames, the labels and the rules in the joint space."""

    film: Viewed
    frames: Vectors
    labels: Vectors
    rules: Vectors


@dataclass(frozen=True, slots=True)
class Fused:
    """What is said of each shot and each rule."""

    film: Viewed
    #: Of each shot, surest first.
    labels: list[list[Scored]]
    #: Of each rule, in order of time.
    events: list[list[Lasting]]


def extract(work: Work, task: VideoInput) -> Viewed:
    return viewed(work, task.video, task.sample_fps)


def convert(work: Work, task: VideoInput, film: Viewed) -> Converted:
    rows: list[Vectors] = []
    for first in range(0, len(film.features), _PROJECTED_TOGETHER):
        work.progress(first / len(film.features))
        rows.append(images_in_joint_space(work, film.features[first : first + _PROJECTED_TOGETHER]))
    return Converted(
        film=film,
        frames=np.concatenate(rows),
        labels=texts_in_joint_space(work, task.labels or []),
        rules=texts_in_joint_space(work, [rule.text for rule in task.rules]),
    )


def fuse(work: Work, task: VideoInput, converted: Converted) -> Fused:
    film = converted.film
    vocabulary = work.model(JointEncoder).vocabulary_vectors
    scores = match_scores(converted.frames, converted.rules, vocabulary)
    stand = spans(film.times, film.shots)
    events = [
        lastings(
            scores[:, index],
            stand,
            threshold=rule.threshold,
            min_duration_s=rule.min_duration_s,
            longest_gap_s=_LONGEST_GAP / task.sample_fps,
        )
        for index, rule in enumerate(task.rules)
    ]
    return Fused(film, _labels(work, task, converted), events)


def output(work: Work, task: VideoInput, fused: Fused) -> VideoResult:
    film = fused.film
    starts = [shot.start_s for shot in film.shots[: len(film.pictures)]]
    work.artifact("contact_sheet", contact_sheet(film.pictures, starts, len(film.shots)), "image/jpeg")
    events = [
        _event(rule.name, one) for rule, found in zip(task.rules, fused.events, strict=True) for one in found
    ]
    return VideoResult(
        duration_s=_rounded(film.duration_s),
        width=film.title.width,
        height=film.title.height,
        shots=[_shot(film, index, labels) for index, labels in enumerate(fused.labels)],
        events=sorted(events, key=lambda event: event.start_s),
    )


def _labels(work: Work, task: VideoInput, converted: Converted) -> list[list[Scored]]:
    """Return what each shot shows, as the mean over its frames, surest first."""
    film = converted.film
    if task.labels is not None:
        names, most = task.labels, _GIVEN_LABELS
        scores = shares(converted.frames, converted.labels)
    else:
        names, most = list(work.model(ImageEncoder).vocabulary), _OWN_LABELS
        scores = np.stack([one.probabilities for one in film.features])
    found = [ranking(names, scores[frames].mean(axis=0), most) for frames in film.frames_of_shots()]
    if task.labels is None and film.actions:
        return [_with(labels, action) for labels, action in zip(found, film.actions, strict=True)]
    return found


def _with(labels: list[Scored], action: Scored) -> list[Scored]:
    """Return the labels and what happens, each name once with its best score."""
    best = dict(sorted([*labels, action], key=lambda one: one[1]))
    return sorted(best.items(), key=lambda one: -one[1])


def _shot(film: Viewed, index: int, labels: list[Scored]) -> Shot:
    span = film.shots[index]
    return Shot(
        start_s=_rounded(span.start_s),
        end_s=_rounded(span.end_s),
        caption=film.captions[index] if film.captions else None,
        labels=[ScoredLabel(label=label, score=score) for label, score in labels],
    )


def _event(rule: str, found: Lasting) -> Event:
    return Event(
        rule=rule,
        start_s=_rounded(found.span.start_s),
        end_s=_rounded(found.span.end_s),
        score=min(found.score, 1.0),
    )


def _rounded(seconds: float) -> float:
    """Return a time to the millisecond."""
    return round(seconds, 3)


#: Looking at the frames, as they are decoded, is nearly all of it.
PIPELINE = Pipeline(extract=extract, convert=convert, fuse=fuse, output=output, efforts=(36.0, 1.0, 2.0, 1.0))
