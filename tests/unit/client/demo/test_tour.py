"""The demo's jobs are made from the photos that come with the package."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
from rich.console import Console

from client.demo.tour import errands, table_of
from client.models import Job
from shared.schemas import catalogue

FOLDER = Path(str(resources.files("client.demo"))) / "photos"


def test_it_shows_every_task_on_many_photos() -> None:
    todo = errands(FOLDER)

    assert {errand.task for errand in todo} == {"embed", "match", "classify"}
    assert len(todo) >= 12
    assert len({errand.photo for errand in todo}) >= 6
    assert min(Counter(errand.task for errand in todo).values()) >= 6


def test_every_photo_is_there_and_every_input_is_valid() -> None:
    for errand in errands(FOLDER):
        assert errand.photo.is_file()
        schema = catalogue()[errand.task].input
        ref = {"part": "photo"}
        place = {"image": ref} if "image" in schema.model_fields else {"images": [ref]}
        schema.model_validate({**errand.fields, **place})


def test_one_photo_is_asked_about_in_two_ways() -> None:
    questions = [errand for errand in errands(FOLDER) if errand.question]
    assert len(questions) >= 2
    assert len({errand.photo for errand in questions}) == 1
    assert len({errand.question for errand in questions}) == len(questions)


@pytest.mark.parametrize("width", [80, 220])
def test_the_table_names_every_model_at_any_width(width: int) -> None:
    todo = errands(FOLDER)[:2]
    models = [{"id": "some/model", "grade": "starter"}, {"id": "other", "grade": "full"}]
    job = Job.model_validate(
        {
            "id": "job_1",
            "task": "match",
            "status": "succeeded",
            "version": 3,
            "result": {"scores": [[0.1, 0.9]], "best_texts": [1]},
            "provenance": {"models": models},
            "timings_ms": {"queue": 5.4, "model": 1234.5, "total": 2000},
            "batch": {"size": 16},
        }
    )
    console = Console(width=width)

    with console.capture() as capture:
        console.print(table_of(todo, [job, job], width))

    text = capture.get()
    assert "some/model (starter)" in text
    assert "other (full)" in text
    assert text.count("5/1,234/2,000") == 2
    assert text.count("(0.90)") == 2
    assert max(len(line) for line in text.splitlines()) <= width
