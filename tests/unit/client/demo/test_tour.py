"""The demo's jobs are made from the photos that come with the package."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from client.demo.errands import Errand, errands
from client.demo.report import write_report
from client.demo.tour import table_of
from client.models import Job
from client.sdk import Client
from shared.schemas import catalogue
from tests.unit.client.fake_service import FakeService

FOLDER = Path(str(resources.files("client.demo"))) / "photos"


def test_it_shows_every_task_on_many_photos() -> None:
    todo = errands(FOLDER)

    counts = Counter(errand.task for errand in todo)
    assert set(counts) == set(catalogue()) - {"train"}
    assert len({errand.photo for errand in todo}) >= 6
    assert min(counts[task] for task in ("embed", "match", "classify", "caption", "answer")) >= 6
    assert len([errand for errand in todo if errand.film]) == 1


def test_every_photo_is_there_and_every_input_is_valid() -> None:
    for errand in errands(FOLDER):
        schema = catalogue()[errand.task].input
        place: dict[str, Any] = {}
        if file := errand.photo or errand.film:
            assert file.is_file()
            field = next(name for name in ("image", "images", "video") if name in schema.model_fields)
            place = {field: [{"part": "file"}] if field == "images" else {"part": "file"}}
        fields = json.loads(json.dumps(errand.fields, default=as_part))
        schema.model_validate({**fields, **place})


def as_part(path: object) -> dict[str, str]:
    assert isinstance(path, Path)
    assert path.is_file()
    return {"part": path.name}


def test_one_photo_is_classified_in_two_ways() -> None:
    questions = [errand for errand in errands(FOLDER) if errand.task == "classify" and errand.question]
    assert len(questions) >= 2
    assert len({errand.photo for errand in questions}) == 1
    assert len({errand.question for errand in questions}) == len(questions)


def test_the_report_shows_every_picture_and_quotes_what_it_was_given(tmp_path: Path) -> None:
    done = Job.model_validate(
        {
            "id": "job_1",
            "task": "explain",
            "status": "succeeded",
            "version": 3,
            "result": {"score": 0.5, "tokens": [{"token": "<b>", "weight": 0.25}], "regions": []},
            "artifacts": [
                {"name": "heatmap", "media_type": "image/png", "bytes": 3, "href": "/v1/a/heatmap"}
            ],
        }
    )
    failed = Job.model_validate(
        {
            "id": "job_2",
            "task": "video",
            "status": "failed",
            "version": 3,
            "error": {"code": "video_corrupt", "message": "cut <off>"},
        }
    )
    todo = [
        Errand(task="explain", photo=FOLDER / "cat.jpg", fields={}, question="a <script>"),
        Errand(task="video", fields={}),
    ]
    service = FakeService(script=[httpx.Response(200, content=b"png")])

    with Client("http://service", transport=service) as client:
        page = write_report(tmp_path / "report", todo, [done, failed], client)

    html = page.read_text()
    assert (page.parent / "job_1-heatmap.png").read_bytes() == b"png"
    assert 'src="job_1-heatmap.png"' in html
    assert 'src="cat.jpg"' in html
    assert (page.parent / "cat.jpg").is_file()
    assert "a &lt;script&gt;" in html
    assert "&lt;b&gt;" in html
    assert "cut &lt;off&gt; (video_corrupt)" in html
    assert "1 of 2 jobs succeeded" in html


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
