"""Results are shown by their shape, so that a task of tomorrow shows as well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType

from client.models import Job, Task
from client.show import job_view, jobs_view, milliseconds, models_of, result_in_words, tasks_view

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MATCH = {"scores": [[0.9, 0.1], [0.2, 0.8]], "best_texts": [0, 1], "best_images": [0, 1]}
CLASSIFY = {"labels": [{"label": "[b]cat[/b]", "score": 0.75}, {"label": "dog", "score": 0.25}]}
EMBED = {"image_vectors": [[0.6, 0.8]], "text_vectors": ["AACAPw=="], "dim": 2}


def job(result: dict[str, Any] | None = None, **fields: Any) -> Job:
    return Job.model_validate(
        {"id": "job_1", "task": "t", "status": "succeeded", "version": 1, "result": result, **fields}
    )


def shown(view: RenderableType) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_a_match_is_a_table_of_scores() -> None:
    text = shown(job_view(job(MATCH), ["cat.jpg"], ["a cat", "a dog"]))
    assert "cat.jpg" in text
    assert "image 2" in text
    assert text.index("a cat") < text.index("0.900") < text.index("a dog") < text.index("0.800")


def test_labels_are_bars_and_never_markup() -> None:
    text = shown(job_view(job({**CLASSIFY, "description": "a cat, perhaps"})))
    assert "[b]cat[/b]" in text
    assert "█" * 18 + "░" * 6 in text
    assert "75.0%" in text
    assert "a cat, perhaps" in text


def test_vectors_are_shown_by_their_size() -> None:
    text = shown(job_view(job(EMBED)))
    assert "image 1" in text
    assert "+0.600 +0.800" in text
    assert "AACAPw==" in text


def test_an_unknown_result_is_shown_as_it_is() -> None:
    assert '"answer": 42' in shown(job_view(job({"answer": 42})))


def test_a_task_without_its_models_says_why() -> None:
    grades = ({"grade": "starter"}, {"grade": "full"})
    here = Task(name="embed", models=grades)
    gone = Task(name="caption", available=False, unavailable_because="Captioner: not pulled", models=grades)

    first, second = (shown(tasks_view([task])) for task in (here, gone))

    assert "full, starter" in first
    assert "unavailable: Captioner: not pulled" in second
    assert "starter" not in second


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (MATCH, "a cat (0.90); text 2 (0.80)"),
        (CLASSIFY, "[b]cat[/b] 75%, dog 25%"),
        (EMBED, "1 image vector and 1 text vector of 2"),
        ({"answer": "x" * 200}, '{"answer": "' + "x" * 67 + "…"),
        (None, "{}"),
    ],
)
def test_the_gist_of_a_result_is_one_line(result: dict[str, Any] | None, words: str) -> None:
    assert result_in_words(job(result), ["a cat"]) == words


def test_models_are_named_once_with_their_grade() -> None:
    models = [{"id": "m", "grade": "starter"}, {"id": "m", "grade": "starter"}, {"id": "n", "grade": "full"}]
    assert models_of(job(provenance={"models": models})) == ["m (starter)", "n (full)"]
    assert models_of(job()) == []


def test_the_total_is_reckoned_when_the_service_does_not_say() -> None:
    ended = job(created_at=NOW, finished_at=NOW + timedelta(seconds=1.5), timings_ms={"queue": 3.4})
    assert milliseconds(ended, "total") == "1,500"
    assert milliseconds(ended, "queue") == "3"
    assert milliseconds(ended, "model") == ""


@pytest.mark.parametrize(
    ("age", "words"),
    [(timedelta(seconds=5), "5 s"), (timedelta(minutes=3), "3 min"), (timedelta(hours=7), "7 h")],
)
def test_jobs_are_listed_with_their_age(age: timedelta, words: str) -> None:
    assert words in shown(jobs_view([job(created_at=NOW - age)], NOW))
