"""`iconotext watch` tells each change once, and ends when all have ended."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest
from rich.console import Console

from client import Job
from client.watching import doing, stand_view
from tests.unit.client.conftest import Run
from tests.unit.client.fake_service import FakeService


def job(status: str, **fields: Any) -> Job:
    return Job.model_validate({"id": "job_1", "task": "match", "status": status, "version": 1, **fields})


def page_of(jobs: dict[str, Any]) -> httpx.Response:
    """Return what answers a listing."""
    return httpx.Response(200, json={"jobs": list(jobs.values()), "next_page_token": None})


def drawn(stand: dict[str, Job | None], most: int) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    console.print(stand_view(stand, most))
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_each_change_is_a_line_where_there_is_no_terminal(
    run: Run, service: FakeService, jobs: dict[str, Any]
) -> None:
    service.pace = 1

    done = run("watch", *jobs)

    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "many_0 match queued",
        "many_1 match queued",
        "many_1 match succeeded",
        "many_0 match succeeded",
    ]


def test_each_change_is_a_line_of_json(run: Run, jobs: dict[str, Any]) -> None:
    told = [json.loads(line) for line in run("watch", *jobs, "--json").stdout.splitlines()]

    assert [(one["id"], one["status"]) for one in told] == [
        ("many_0", "queued"),
        ("many_1", "queued"),
        ("many_0", "succeeded"),
        ("many_1", "succeeded"),
    ]


def test_quiet_leaves_it_to_the_exit_status(run: Run, jobs: dict[str, Any]) -> None:
    jobs["many_0"] |= {"status": "failed"}

    done = run("watch", *jobs, "--quiet")

    assert (done.exit_code, done.stdout) == (1, "")


def test_without_names_all_that_is_under_way_is_watched(
    run: Run, service: FakeService, jobs: dict[str, Any]
) -> None:
    service.script = [page_of(jobs)]

    done = run("watch", "--quiet")

    assert done.exit_code == 0
    assert service.requests[0].url.params.get_list("status") == ["queued", "running", "canceling"]
    assert {one["status"] for one in jobs.values()} == {"succeeded"}


def test_nothing_under_way_is_said(run: Run, service: FakeService) -> None:
    service.script = [page_of({})]
    assert run("watch").stdout == "nothing is under way\n"


def test_a_job_that_is_not_there_is_status_two(run: Run, jobs: dict[str, Any]) -> None:
    done = run("watch", *jobs, "job_9")

    assert done.exit_code == 2
    assert "there is no job 'job_9'" in done.stderr


def test_a_job_that_is_deleted_meanwhile_is_gone_and_no_success(
    run: Run, service: FakeService, jobs: dict[str, Any]
) -> None:
    def forget(request: httpx.Request) -> httpx.Response:
        answer = service._answer_many(request)
        del jobs["many_0"]
        return answer

    service.script = [forget]

    done = run("watch", *jobs)

    assert done.exit_code == 1
    assert "many_0 gone" in done.stdout.splitlines()


def test_time_that_is_over_is_status_four(run: Run, service: FakeService, jobs: dict[str, Any]) -> None:
    service.pace = 0

    done = run("watch", *jobs, "--timeout", "0.01")

    assert done.exit_code == 4
    assert "1 more" in done.stderr


def test_those_that_go_on_come_first_and_what_does_not_fit_is_counted() -> None:
    stand: dict[str, Job | None] = {"a": job("succeeded"), "b": None, "c": job("running"), "d": job("queued")}

    header, *rows, rest = drawn(stand, 2)

    assert header == "id task status progress stage"
    assert [row.split()[0] for row in rows] == ["c", "d"]
    assert rest == "and 2 more"


def test_a_job_that_is_gone_has_a_row() -> None:
    assert drawn({"a": None}, 5)[1:] == ["a gone"]


@pytest.mark.parametrize(
    ("stands", "words"),
    [
        (job("queued"), ""),
        (job("queued", queue={"position": 3}), "3 before it"),
        (job("queued", queue={"position": 3, "eta_s": 12.4}), "3 before it, starts in about 12 s"),
        (job("running", progress={"stage": "extract"}), "extract"),
        (job("running", progress={"stage": "extract", "message": "step 3 of 9"}), "step 3 of 9"),
        (job("succeeded", progress={"stage": "output"}), ""),
        (
            job("failed", error={"code": "timeout", "message": "it ran longer than 5 s"}),
            "it ran longer than 5 s (timeout)",
        ),
    ],
)
def test_what_a_job_is_at_is_said_in_a_few_words(stands: Job, words: str) -> None:
    assert doing(stands) == words
