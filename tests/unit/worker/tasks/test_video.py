"""`video` finds a film's shots, says what they show, and when what the rules describe is seen."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from shared.errors import VideoCorrupt
from shared.schemas.video import VideoInput, VideoResult
from tests.direct import DirectWork, loaded, plain, run
from tests.films import film
from worker.models.capabilities import Pixels
from worker.models.fake import COLOURS
from worker.stages.contact_sheet import MOST_CELLS
from worker.tasks.video import PIPELINE


def colours(*named: tuple[str, float]) -> list[Pixels]:
    """Return the frames of a film that shows these colours for so many seconds each."""
    return [plain(COLOURS[name], 64, 48) for name, seconds in named for _ in range(round(25 * seconds))]


FILMS = {
    "film": film(colours(("red", 2.0), ("yellow", 3.2), ("blue", 2.8))),
    "brief": film(colours(("black", 3.0), ("white", 0.24))),
    "many": film(colours(*[("black", 0.6), ("white", 0.6)] * 23)),
    "sound": film([], sound=True),
}


@pytest.fixture
def work() -> DirectWork:
    return DirectWork(loaded("fake"), FILMS)


def watch(work: DirectWork, part: str = "film", **fields: Any) -> VideoResult:
    result: VideoResult = run(PIPELINE, work, VideoInput.model_validate({"video": {"part": part}} | fields))
    return result


def rule(text: str, **terms: Any) -> dict[str, Any]:
    return {"name": text, "text": text, **terms}


def test_each_shot_has_its_times_its_label_and_its_caption(work: DirectWork) -> None:
    result = watch(work)

    assert (result.duration_s, result.width, result.height) == (8.0, 64, 48)
    assert [(shot.start_s, shot.end_s) for shot in result.shots] == [(0.0, 2.0), (2.0, 5.2), (5.2, 8.0)]
    assert [shot.labels[0].label for shot in result.shots] == ["red", "yellow", "blue"]
    for shot, colour in zip(result.shots, ("red", "yellow", "blue"), strict=True):
        assert shot.caption is not None
        assert colour in shot.caption


def test_given_labels_are_ranked_instead_of_the_models_own(work: DirectWork) -> None:
    result = watch(work, labels=["a blue door", "a red door", "a yellow door"])

    assert [shot.labels[0].label for shot in result.shots] == ["a red door", "a yellow door", "a blue door"]
    assert all(len(shot.labels) == 3 for shot in result.shots)


def test_of_many_labels_the_best_are_given(work: DirectWork) -> None:
    result = watch(work, labels=[f"door {index}" for index in range(20)])

    assert all(len(shot.labels) == 5 for shot in result.shots)


def test_labels_are_surest_first_and_no_name_comes_twice(work: DirectWork) -> None:
    for shot in watch(work).shots:
        scores = [one.score for one in shot.labels]
        assert scores == sorted(scores, reverse=True)
        assert len({one.label for one in shot.labels}) == len(shot.labels)


def test_an_event_lasts_from_cut_to_cut(work: DirectWork) -> None:
    result = watch(work, rules=[rule("yellow"), rule("blue"), rule("green")])

    assert [(event.rule, event.start_s, event.end_s) for event in result.events] == [
        ("yellow", 2.0, 5.2),
        ("blue", 5.2, 8.0),
    ]
    assert all(event.score > 0.5 for event in result.events)


def test_events_of_all_rules_stand_in_order_of_time(work: DirectWork) -> None:
    result = watch(work, rules=[rule("blue"), rule("red"), rule("yellow")])

    assert [event.rule for event in result.events] == ["red", "yellow", "blue"]


def test_what_is_seen_too_shortly_is_no_event(work: DirectWork) -> None:
    long, short = (watch(work, rules=[rule("red", min_duration_s=seconds)]).events for seconds in (2.0, 2.1))

    assert [event.rule for event in long] == ["red"]
    assert short == []


def test_a_threshold_that_nothing_reaches_gives_no_event(work: DirectWork) -> None:
    assert watch(work, rules=[rule("red", threshold=1.0)]).events == []


def test_a_shot_between_two_samples_is_described_too(work: DirectWork) -> None:
    result = watch(work, "brief", sample_fps=0.5, rules=[rule("white", min_duration_s=0.2)])

    assert [(shot.start_s, shot.labels[0].label) for shot in result.shots] == [(0.0, "black"), (3.0, "white")]
    assert [(event.start_s, event.end_s) for event in result.events] == [(3.0, 3.24)]


def test_the_contact_sheet_counts_what_has_no_room(work: DirectWork) -> None:
    result = watch(work, "many")

    sheet = Image.open(io.BytesIO(work.artifacts["contact_sheet"][1]))
    rows = MOST_CELLS // 5
    assert len(result.shots) == 46
    assert rows * 48 < sheet.height < (rows + 1) * (48 + 18 + 8)


def test_the_contact_sheet_shows_every_shot(work: DirectWork) -> None:
    watch(work)

    media_type, content = work.artifacts["contact_sheet"]
    colours_seen = Image.open(io.BytesIO(content)).convert("RGB").getcolors(2**24)
    assert media_type == "image/jpeg"
    for name in ("red", "yellow", "blue"):
        near = [
            count
            for count, shown in colours_seen or []
            if max(abs(one - other) for one, other in zip(shown, COLOURS[name], strict=True)) < 30  # type: ignore[arg-type]
        ]
        assert sum(near) > 0.5 * 64 * 48


def test_progress_follows_the_films_time_and_shows_a_frame(work: DirectWork) -> None:
    watch(work)

    decoding = [report for report in work.reports if "s of 8.0 s" in report[1]]
    assert decoding[-1][:2] == (1.0, "8.0 s of 8.0 s")
    assert [fraction for fraction, _, _ in decoding] == sorted(fraction for fraction, _, _ in decoding)
    assert any(preview for _, _, preview in decoding)


def test_the_device_gets_frames_in_small_groups(work: DirectWork) -> None:
    """So that other jobs have their turn in between, and the film is never held as a whole."""
    sizes: list[int] = []

    class Counting(DirectWork):
        def map(self, operation: Any, items: Any) -> Any:
            sizes.append(len(items))
            return super().map(operation, items)

    long = Counting(loaded("fake"), FILMS)
    watch(long, sample_fps=10.0)

    assert sum(sizes) > 160
    assert max(sizes) <= 64


def test_a_profile_without_captioner_and_classifier_does_without(work: DirectWork) -> None:
    models = {
        name: model for name, model in loaded("fake").items() if name not in ("Captioner", "VideoClassifier")
    }

    result = watch(DirectWork(models, FILMS))

    assert [shot.caption for shot in result.shots] == [None] * 3
    assert [shot.labels[0].label for shot in result.shots] == ["red", "yellow", "blue"]


def test_what_happens_in_a_shot_is_asked_of_the_classifier(work: DirectWork) -> None:
    watch(work)

    assert "VideoClassifier.classify_clips" in work.calls


def test_sound_alone_is_refused(work: DirectWork) -> None:
    with pytest.raises(VideoCorrupt, match="no video stream"):
        watch(work, "sound")


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two rules are named 'bike'"):
        VideoInput.model_validate(
            {
                "video": {"part": "film"},
                "rules": [{"name": "bike", "text": "a bicycle"}, {"name": "bike", "text": "a motorcycle"}],
            }
        )


def test_a_name_may_hold_anything(work: DirectWork) -> None:
    name = "\u202e\x07 \U0001f6b2\n"

    assert [event.rule for event in watch(work, rules=[rule("red") | {"name": name}]).events] == [name]
