"""`caption` puts an image into a sentence, with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shared.schemas.caption import CaptionInput, CaptionResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.capabilities import Caption, CaptionRequest
from worker.models.fake import COLOURS
from worker.tasks.caption import PIPELINE


@pytest.fixture
def work() -> DirectWork:
    halves = plain(COLOURS["red"])
    halves[:, 8:] = COLOURS["blue"]
    return DirectWork(loaded("fake"), {"halves": png(halves)})


def caption(work: DirectWork, **fields: Any) -> CaptionResult:
    result: CaptionResult = run(
        PIPELINE, work, CaptionInput.model_validate({"image": {"part": "halves"}} | fields)
    )
    return result


def test_a_picture_becomes_a_sentence_with_its_evidence(work: DirectWork) -> None:
    result = caption(work)

    assert result.text == "a picture in blue and red"
    assert [label.label for label in result.evidence] == ["blue", "red"]
    assert work.calls == ["Captioner.caption"]


def test_the_sentence_begins_as_asked_and_is_no_longer_than_asked(work: DirectWork) -> None:
    assert caption(work, prompt="I see").text == "I see blue and red"
    assert caption(work, max_tokens=4).text == "a picture in blue"


def test_scores_past_one_are_one(work: DirectWork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares computed in float32 may pass 1 by one part in ten million."""

    def slightly_too_sure(requests: Sequence[CaptionRequest]) -> list[Caption]:
        return [Caption(text="x", evidence=[("a", 1.0000001), ("b", -1e-9)]) for _ in requests]

    monkeypatch.setattr(loaded("fake")["Captioner"], "caption", slightly_too_sure, raising=False)

    assert [label.score for label in caption(work).evidence] == [1.0, 0.0]
