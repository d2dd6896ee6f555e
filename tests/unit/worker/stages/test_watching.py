"""Which frames match a text, and when that lasts long enough to be an event."""

from __future__ import annotations

import numpy as np
import pytest

from worker.models.vectors import unit
from worker.stages.watching import Lasting, Span, lastings, match_scores, spans

ONE_SHOT = [Span(0.0, 10.0)]


def watched(marks: str, threshold: float = 0.5, least_s: float = 1.0, gap_s: float = 1.0) -> list[Lasting]:
    """Return the events of frames half a second apart: `#` matches with .9, `.` with .1."""
    stand = [Span(index / 2, index / 2 + 0.5) for index in range(len(marks))]
    scores = np.array([0.9 if mark == "#" else 0.1 for mark in marks], np.float32)
    return lastings(scores, stand, threshold=threshold, min_duration_s=least_s, longest_gap_s=gap_s)


def found(marks: str, **terms: float) -> list[tuple[float, float]]:
    return [(one.span.start_s, one.span.end_s) for one in watched(marks, **terms)]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("", []),
        ("......", []),
        ("######", [(0.0, 3.0)]),
        ("..##..", [(1.0, 2.0)]),
        ("##..##", [(0.0, 1.0), (2.0, 3.0)]),
        ("..#...", []),
        (".....##", [(2.5, 3.5)]),
    ],
)
def test_an_event_is_where_frames_match_long_enough(marks: str, expected: list[tuple[float, float]]) -> None:
    assert found(marks) == expected


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ("#.#", [(0.0, 1.5)]),
        ("#.#.#", [(0.0, 2.5)]),
        ("#..#", []),
        (".#.#.", [(0.5, 2.0)]),
        ("##.", [(0.0, 1.0)]),
        (".##", [(0.5, 1.5)]),
    ],
)
def test_a_single_frame_that_does_not_match_is_overlooked(
    marks: str, expected: list[tuple[float, float]]
) -> None:
    assert found(marks) == expected


def test_a_single_frame_that_stays_long_is_not_overlooked() -> None:
    assert found("##.##", gap_s=0.4) == [(0.0, 1.0), (1.5, 2.5)]


@pytest.mark.parametrize(("least_s", "count"), [(0.0, 2), (0.5, 2), (0.6, 1), (1.5, 1), (1.6, 0)])
def test_shorter_matches_are_no_events(least_s: float, count: int) -> None:
    assert len(watched("#...###", least_s=least_s)) == count


def test_the_score_is_the_mean_over_the_frames() -> None:
    (one,) = watched("##.#")

    assert one.score == pytest.approx((0.9 * 3 + 0.1) / 4)


def test_a_frame_that_reaches_the_threshold_matches() -> None:
    assert found("##", threshold=float(np.float32(0.9))) == [(0.0, 1.0)]
    assert found("##", threshold=0.91) == []


def test_a_frame_stands_until_the_next() -> None:
    assert spans([0.0, 0.5, 4.0], ONE_SHOT) == [Span(0.0, 0.5), Span(0.5, 4.0), Span(4.0, 10.0)]


def test_a_frame_ends_with_its_shot_and_the_next_begins_there() -> None:
    shots = [Span(0.0, 1.2), Span(1.2, 1.9), Span(1.9, 10.0)]

    stand = spans([0.0, 1.0, 1.6, 2.0, 3.0], shots)

    assert stand == [Span(0.0, 1.0), Span(1.0, 1.2), Span(1.2, 1.9), Span(1.9, 3.0), Span(3.0, 10.0)]


def test_a_frame_on_a_cut_begins_with_it() -> None:
    assert spans([0.0, 2.0], [Span(0.0, 2.0), Span(2.0, 3.0)]) == [Span(0.0, 2.0), Span(2.0, 3.0)]


def test_a_text_matches_the_frames_that_it_is_nearer_to_than_the_vocabulary() -> None:
    vocabulary = unit(np.random.default_rng(1).normal(size=(200, 16)).astype(np.float32))
    frames = unit(np.random.default_rng(2).normal(size=(5, 16)).astype(np.float32))

    scores = match_scores(frames, np.concatenate([frames, -frames]), vocabulary)

    assert scores.shape == (5, 10)
    assert scores.dtype == np.float32
    assert (np.diag(scores) > 0.95).all()
    assert (np.diag(scores[:, 5:]) < 0.01).all()
    assert ((scores >= 0.0) & (scores <= 1.0)).all()


def test_a_joint_space_where_everything_is_near_everything_gives_the_same_scores() -> None:
    """Encoders differ in how near pictures and texts lie on average, and in how far that varies."""
    random = np.random.default_rng(3)
    vocabulary, texts, frames = (random.normal(size=(count, 16)) for count in (100, 4, 5))
    scores = match_scores(*(one.astype(np.float32) for one in (frames, texts, vocabulary)))

    # One more dimension, in which all texts agree: every cosine grows by the same.
    shifted = [
        np.pad(one, ((0, 0), (0, 1)), constant_values=9.0) * 0.1 for one in (frames, texts, vocabulary)
    ]

    assert match_scores(*(one.astype(np.float32) for one in shifted)) == pytest.approx(scores, abs=1e-4)


def test_a_space_without_any_spread_gives_finite_scores() -> None:
    same = np.ones((3, 4), np.float32) * 0.5

    assert np.isfinite(match_scores(same, same, same)).all()


def test_no_texts_give_no_scores() -> None:
    frames = np.eye(3, dtype=np.float32)

    assert match_scores(frames, np.zeros((0, 3), np.float32), frames).shape == (3, 0)
