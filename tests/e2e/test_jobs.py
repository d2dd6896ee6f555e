"""A job from the command line or from Python to its result, through every process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client import Client, JobFailed, RequestRefused
from tests.e2e.conftest import Up


def test_a_match_through_python(client: Client, photos: dict[str, Path]) -> None:
    job = client.submit("match", images=[photos["red"], photos["blue"]], texts=["blue sky", "a red door"])

    result = client.wait(job.id, 20).result

    assert result is not None
    assert result["best_texts"] == [1, 0]
    assert result["best_images"] == [1, 0]


def test_a_classify_through_the_command(up: Up, photos: dict[str, Path]) -> None:
    words = ["--image", str(photos["green"]), "--set", "labels=red,green", "--set", "top_k=1"]

    done = up.command("submit", "classify", *words, "--wait", "--json")

    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert [label["label"] for label in job["result"]["labels"]] == ["green"]
    assert job["provenance"]["profile"] == "fake"


def test_the_command_shows_results_as_tables(up: Up, photos: dict[str, Path]) -> None:
    done = up.command("submit", "match", "--image", str(photos["red"]), "--text", "a red door", "--wait")
    assert done.returncode == 0, done.stderr
    assert "red.png" in done.stdout
    assert "a red door" in done.stdout


def test_an_uploaded_file_serves_many_jobs(client: Client, photos: dict[str, Path]) -> None:
    file = client.upload(photos["red"])
    again = client.upload(photos["red"])

    job = client.wait(client.submit("embed", images=[file]).id, 20)

    assert file.id == again.id
    assert job.result is not None
    assert len(job.result["image_vectors"]) == 1
    assert client.download(file.id) == photos["red"].read_bytes()


def test_a_job_that_fails_is_an_exception_and_an_exit_status(up: Up, client: Client) -> None:
    job = client.submit("embed", texts=["fake:fail"])

    with pytest.raises(JobFailed, match="fake:fail"):
        client.wait(job.id, 20)

    done = up.command("wait", job.id)
    assert done.returncode == 1
    assert "model_failed" in done.stdout


def test_what_the_service_refuses_names_the_place(up: Up, client: Client, photos: dict[str, Path]) -> None:
    with pytest.raises(RequestRefused) as refused:
        client.submit("classify", images=[photos["red"]], top_k=1000)
    assert [problem.pointer for problem in refused.value.problems] == ["/input/top_k"]

    done = up.command("submit", "classify", "--image", str(photos["red"]), "--set", "top_k=1000")
    assert done.returncode == 2
    assert "/input/top_k" in done.stderr


def test_a_job_is_listed_by_its_label_and_can_be_canceled(up: Up, client: Client) -> None:
    blocker = client.submit("embed", texts=["fake:sleep=1 red"])
    done = up.command("submit", "embed", "--text", "green", "--label", "of=canceling", "--json")
    job_id = json.loads(done.stdout)["id"]

    assert up.command("cancel", job_id).returncode == 0

    ended = client.watch(job_id, 20)
    # It may have been done before the cancel came.
    assert ended.status in {"canceled", "succeeded"}
    assert [job.id for job in client.list(labels={"of": "canceling"})] == [job_id]
    client.wait(blocker.id, 20)


def test_waiting_can_end_before_the_job(up: Up, client: Client) -> None:
    job = client.submit("embed", texts=["fake:sleep=2 red"])

    done = up.command("wait", job.id, "--timeout", "0.3")

    assert done.returncode == 4
    assert "it goes on" in done.stderr
    assert client.wait(job.id, 20).succeeded


def test_the_catalogue_has_the_tasks(up: Up) -> None:
    done = up.command("tasks", "--json")
    assert {"classify", "embed", "match"} <= {task["name"] for task in json.loads(done.stdout)}
