"""What the demonstration shows is what the starter models do, on every run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.schemas.classify import ClassifyInput, ClassifyResult
from shared.schemas.match import MatchInput, MatchResult
from tests.direct import DirectWork, loaded, run
from worker.tasks import classify, match

PHOTOS = Path(__file__).parents[2] / "client" / "demo" / "photos"
DEMO = json.loads((PHOTOS / "captions.json").read_text(encoding="utf-8"))
CAPTIONS: dict[str, str] = DEMO["photos"]
TEXTS = [*CAPTIONS.values(), *DEMO["distractors"]]
CONTEXT = DEMO["context"]


@pytest.fixture
def work() -> DirectWork:
    pictures = {path.name: path.read_bytes() for path in PHOTOS.glob("*.jpg")}
    return DirectWork(loaded("starter"), pictures)


def classified(work: DirectWork, **fields: Any) -> ClassifyResult:
    task_input = ClassifyInput.model_validate({"image": {"part": CONTEXT["photo"]}} | fields)
    result: ClassifyResult = run(classify.PIPELINE, work, task_input)
    return result


def test_every_photo_has_a_caption_and_an_origin() -> None:
    origins = (PHOTOS / "origins.txt").read_text(encoding="utf-8")
    files = {path.name for path in PHOTOS.glob("*.jpg")}

    assert files == set(CAPTIONS)
    assert len(files) >= 8
    assert all(f"\n{name}\n" in origins for name in files)


@pytest.mark.parametrize("name", CAPTIONS)
def test_a_photo_is_small(name: str) -> None:
    content = (PHOTOS / name).read_bytes()

    with Image.open(io.BytesIO(content)) as image:
        assert max(image.size) <= 640
    assert len(content) < 120_000


def test_every_photo_finds_its_caption_and_every_caption_its_photo(work: DirectWork) -> None:
    assert len(TEXTS) >= 12
    images = [{"part": name} for name in CAPTIONS]

    result: MatchResult = run(
        match.PIPELINE, work, MatchInput.model_validate({"images": images, "texts": TEXTS})
    )

    assert [TEXTS[index] for index in result.best_texts] == list(CAPTIONS.values())
    assert result.best_images[: len(CAPTIONS)] == list(range(len(CAPTIONS)))


@pytest.mark.parametrize("context", CONTEXT["texts"], ids=lambda context: context["label"])
def test_attention_names_the_thing_that_the_text_speaks_of(work: DirectWork, context: dict[str, Any]) -> None:
    among_labels = classified(work, text=context["text"], labels=CONTEXT["labels"])
    in_own_words = classified(work, text=context["text"])

    assert among_labels.labels[0].label == context["label"]
    assert in_own_words.labels[0].label in context["vocabulary"]


@pytest.mark.parametrize("labels", [None, CONTEXT["labels"]])
def test_without_fusion_no_text_changes_the_answer(work: DirectWork, labels: list[str] | None) -> None:
    alone = classified(work, labels=labels)

    for context in CONTEXT["texts"]:
        assert classified(work, text=context["text"], fusion="none", labels=labels) == alone


def test_a_text_about_something_absent_does_not_put_it_into_the_picture(work: DirectWork) -> None:
    attended = classified(work, text="a banana", top_k=100)
    averaged = classified(work, text="a banana", fusion="mean")

    assert all(label.label != "banana" or label.score < 0.01 for label in attended.labels)
    assert averaged.labels[0].label == "banana"


def test_what_is_not_known_is_called_unknown(work: DirectWork) -> None:
    assert classified(work).description == "a photo of something unknown"
