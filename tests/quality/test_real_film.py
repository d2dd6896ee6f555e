"""What the starter models see in a real film, judged by its frames."""

from __future__ import annotations

from typing import Any

import pytest

from shared.schemas.video import VideoInput, VideoResult
from tests.direct import DirectWork, loaded, run
from tests.films import BIKES_CUTS, BIKES_TOLERANCE_S, bikes
from worker.tasks.video import PIPELINE

#: When a cyclist waits in the traffic and locked bicycles lean on a railing, and when cars are in sight.
BICYCLES_S = (3.04, 7.48)
CARS_S = (1.2, 7.48)
ABSENT = ("a dog in the grass", "a plate of spaghetti with tomato sauce", "a sailing boat on a calm lake")


@pytest.fixture(scope="module")
def result() -> VideoResult:
    rules: list[dict[str, Any]] = [
        {"name": "bicycle", "text": "a person riding a bicycle"},
        {"name": "cars", "text": "cars in the street"},
        *({"name": text, "text": text} for text in ABSENT),
    ]
    work = DirectWork(loaded("starter"), {"film": bikes().read_bytes()})
    found: VideoResult = run(
        PIPELINE, work, VideoInput.model_validate({"video": {"part": "film"}, "rules": rules})
    )
    return found


def overlap(result: VideoResult, rule: str, span: tuple[float, float]) -> float:
    """Return how much of the rule's events lies in the span, in seconds."""
    return sum(
        max(0.0, min(event.end_s, span[1]) - max(event.start_s, span[0]))
        for event in result.events
        if event.rule == rule
    )


def test_the_shots_are_the_real_cuts(result: VideoResult) -> None:
    assert [shot.start_s for shot in result.shots] == pytest.approx([0.0, *BIKES_CUTS], abs=BIKES_TOLERANCE_S)


@pytest.mark.parametrize(("rule", "span"), [("bicycle", BICYCLES_S), ("cars", CARS_S)])
def test_an_event_lies_where_its_rule_is_seen(
    result: VideoResult, rule: str, span: tuple[float, float]
) -> None:
    seen = sum(event.end_s - event.start_s for event in result.events if event.rule == rule)

    assert overlap(result, rule, span) >= 2.5
    assert overlap(result, rule, span) >= 0.6 * seen


def test_what_is_not_there_is_no_event(result: VideoResult) -> None:
    assert not {event.rule for event in result.events} & set(ABSENT)
