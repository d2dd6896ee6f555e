"""What a benchmark makes of its samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report as reports
from benchmarks.report import Effort, Report, in_turn, quantile, read_effort, readable


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1), (0.505, 51)])
def test_a_quantile_is_a_sample_that_this_share_does_not_exceed(share: float, expected: int) -> None:
    samples = [float(number) for number in range(100, 0, -1)]

    assert quantile(samples, share) == expected


def test_a_figure_is_the_median_of_its_rounds() -> None:
    report = Report(name="any", rounds=3)

    figure = report.add("speed", [30.0, 10.0, 11.0], "items/s")

    assert figure.median == 11.0


def test_a_ratio_is_taken_round_by_round() -> None:
    report = Report(name="any", rounds=3)

    ratio = report.ratio("gain", [20.0, 60.0, 30.0], [10.0, 20.0, 30.0])

    assert list(ratio.samples) == [2.0, 3.0, 1.0]
    assert ratio.median == 2.0


@pytest.mark.parametrize(
    ("value", "at_least", "holds"),
    [(0.9, True, True), (0.8999, True, False), (0.9, False, True), (0.9001, False, False)],
)
def test_a_bar_holds_at_its_limit_and_not_beyond(value: float, at_least: bool, holds: bool) -> None:
    report = Report(name="any", rounds=1)

    report.bar("promise", value, 0.9, at_least=at_least)

    assert report.bars["promise"].holds is holds


def test_a_bar_that_falls_short_is_the_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "OUT", tmp_path)
    good, bad = Report(name="good", rounds=1), Report(name="bad", rounds=1)
    for report, value in ((good, 1.0), (bad, 0.5)):
        report.add("speed", [value], "x")
        report.bar("promise", value, 0.9)

    assert (good.finish(), bad.finish()) == (0, 1)
    said = json.loads((tmp_path / "bad.json").read_text())
    assert said["figures"]["speed"] == {"median": 0.5, "min": 0.5, "max": 0.5, "unit": "x"}
    assert said["bars"]["promise"] == {"value": 0.5, "limit": 0.9, "at_least": True, "holds": False}


def test_a_trial_leaves_the_published_figures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "OUT", tmp_path)

    Report(name="any", rounds=1, trial=True).finish()

    assert [file.name for file in tmp_path.iterdir()] == ["any.trial.json"]


def test_every_side_is_measured_in_every_round_and_none_is_always_first() -> None:
    turns = list(in_turn("abc", 3))

    assert sorted(turns) == [(number, side) for number in range(3) for side in "abc"]
    assert [side for _, side in turns[::3]] == ["a", "b", "c"]


def test_the_command_line_sets_rounds_and_share() -> None:
    effort = read_effort("What?\n\nMore.", rounds=3, arguments=["--share", "0.1"])

    assert effort == Effort(rounds=3, share=0.1)
    assert effort.is_trial
    assert (effort.of(1_000), effort.of(5), effort.of(50, least=20)) == (100, 1, 20)


@pytest.mark.parametrize(
    ("value", "words"), [(0.94567, "0.946"), (138.26, "138"), (1453.7, "1,454"), (0.0, "0"), (7.2, "7.2")]
)
def test_a_number_is_shown_with_three_digits_that_count(value: float, words: str) -> None:
    assert readable(value) == words
