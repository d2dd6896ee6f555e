"""`classify` names what an image shows, and a text turns it to the region it speaks of."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from shared.errors import UnknownHead
from shared.schemas.classify import ClassifyInput, ClassifyResult
from tests.direct import DirectWork, loaded, plain, png, run
from worker.models.capabilities import Model
from worker.models.fake import COLOURS
from worker.tasks import classify as task
from worker.tasks.classify import PIPELINE


def working(models: Mapping[str, Model]) -> DirectWork:
    halves = plain(COLOURS["red"])
    halves[:, 16:] = COLOURS["blue"]
    return DirectWork(models, {"red": png(plain(COLOURS["red"])), "halves": png(halves)})


@pytest.fixture
def work() -> DirectWork:
    """A profile without a trained fusion."""
    return working({name: model for name, model in loaded("fake").items() if name != "FusionClassifier"})


@pytest.fixture
def trained() -> DirectWork:
    """A profile that has one."""
    return working(loaded("fake"))


def classify(work: DirectWork, picture: str = "halves", **fields: Any) -> ClassifyResult:
    task_input = ClassifyInput.model_validate({"image": {"part": picture}} | fields)
    result: ClassifyResult = run(PIPELINE, work, task_input)
    return result


def best(result: ClassifyResult) -> str:
    return result.labels[0].label


def test_a_picture_alone_is_named_from_the_models_vocabulary(work: DirectWork) -> None:
    result = classify(work, "red")

    assert best(result) == "red"
    assert result.description == "a photo of a red"
    assert len(result.labels) == 5


@pytest.mark.parametrize("labels", [None, ["green", "blue", "red"]])
@pytest.mark.parametrize(
    ("text", "colour"), [("the red one on the left", "red"), ("the thing that is blue", "blue")]
)
def test_with_attention_the_text_decides_where_to_look(
    work: DirectWork, text: str, colour: str, labels: list[str] | None
) -> None:
    assert best(classify(work, text=text, labels=labels)) == colour


def test_with_attention_an_absent_thing_is_not_found(work: DirectWork) -> None:
    result = classify(work, text="green", labels=["green", "blue", "red"])

    assert result.labels[-1].label == "green"


def test_with_the_mean_the_text_is_heard_as_such(work: DirectWork) -> None:
    result = classify(work, "red", text="green", fusion="mean", top_k=2)

    assert {label.label for label in result.labels} == {"red", "green"}


@pytest.mark.parametrize("labels", [None, ["green", "blue", "red"]])
def test_without_fusion_the_text_changes_nothing(work: DirectWork, labels: list[str] | None) -> None:
    alone = classify(work, labels=labels)

    for text in ("red", "blue", "green"):
        assert classify(work, text=text, fusion="none", labels=labels) == alone


@pytest.mark.parametrize("fusion", ["attention", "mean", "none"])
@pytest.mark.parametrize("profile", ["work", "trained"])
def test_scores_are_shares_best_first(profile: str, fusion: str, request: pytest.FixtureRequest) -> None:
    work = request.getfixturevalue(profile)
    result = classify(work, text="red", fusion=fusion, top_k=100)
    scores = [label.score for label in result.labels]

    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)


def test_no_more_labels_than_asked_for(work: DirectWork) -> None:
    assert len(classify(work, top_k=2).labels) == 2
    assert len(classify(work, labels=["red"], top_k=9).labels) == 1


def test_regions_are_looked_at_only_when_a_text_asks(work: DirectWork) -> None:
    classify(work)
    classify(work, text="red", fusion="mean")

    assert "ImageEncoder.encode_regions" not in work.calls


def test_a_trained_fusion_answers_in_its_own_words(trained: DirectWork) -> None:
    result = classify(trained, "red", text="green", top_k=2)

    assert trained.calls.count("FusionClassifier.classify_pairs") == 1
    assert "ImageEncoder.encode_regions" not in trained.calls
    assert {label.label for label in result.labels} == {"red", "green"}
    assert result.description == "a photo of a red"


@pytest.mark.parametrize(
    "fields",
    [{}, {"text": "red", "labels": ["red", "blue"]}, {"text": "red", "fusion": "mean"}],
    ids=["no text", "labels", "another fusion"],
)
def test_a_trained_fusion_is_not_asked_what_it_never_learned(
    work: DirectWork, trained: DirectWork, fields: dict[str, Any]
) -> None:
    assert classify(trained, **fields) == classify(work, **fields)
    assert "FusionClassifier.classify_pairs" not in trained.calls


def test_a_head_that_nobody_made_is_unknown(work: DirectWork) -> None:
    with pytest.raises(UnknownHead, match="mine") as caught:
        classify(work, head="mine")

    assert caught.value.problems[0].pointer == "/input/head"


def test_a_copy_under_another_name_works(
    work: DirectWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copy(task.__file__, tmp_path / "zebra.py")
    spec = spec_from_file_location("zebra", copy)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "zebra", module)
    spec.loader.exec_module(module)

    result = run(module.PIPELINE, work, ClassifyInput.model_validate({"image": {"part": "red"}}))

    assert best(result) == "red"
