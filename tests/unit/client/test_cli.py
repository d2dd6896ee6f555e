"""The command says what happened in words, in JSON and in its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.errors import StackFailed
from tests.unit.client.conftest import Run
from tests.unit.client.fake_service import FakeService, problem

RESULT = {"scores": [[0.9, 0.1]], "best_texts": [0], "best_images": [0, 0]}


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"jpeg")
    return str(path)


def test_submit_prints_the_job_and_how_to_go_on(run: Run, service: FakeService, photo: str) -> None:
    done = run("submit", "match", "--image", photo, "--text", "a cat")

    assert done.exit_code == 0
    assert "wait for it: iconotext wait job_1" in done.stdout
    assert service.body()["input"] == {"images": [{"part": "file-0"}], "texts": ["a cat"]}


def test_submit_sends_settings_and_options(run: Run, service: FakeService, photo: str) -> None:
    words = ["--set", "top_k=2", "--set", "labels=cat,dog", "--label", "run=7", "--priority", "low"]

    done = run("submit", "classify", "--image", photo, *words, "--start-within", "60", "--time-limit", "5")

    assert done.exit_code == 0
    assert service.body() == {
        "task": "classify",
        "input": {"top_k": 2, "labels": ["cat", "dog"], "image": {"part": "file-0"}},
        "labels": {"run": "7"},
        "priority": "low",
        "start_within_s": 60.0,
        "timeout_s": 5.0,
    }


def test_submit_and_wait_shows_the_result_with_the_callers_own_names(
    run: Run, service: FakeService, photo: str
) -> None:
    service.changes = [{"status": "succeeded", "version": 2, "result": RESULT}]

    done = run("submit", "match", "--image", photo, "--text", "a cat", "--text", "a rocket", "--wait")

    assert done.exit_code == 0
    assert "cat.jpg" in done.stdout
    assert "a rocket" in done.stdout
    assert "0.900" in done.stdout


def test_submit_can_let_earlier_work_answer(run: Run, service: FakeService) -> None:
    run("submit", "match", "--set", 'texts=["a"]', "--cache")
    assert service.body()["cache"] is True

    run("submit", "match", "--set", 'texts=["a"]')
    assert "cache" not in service.body()


def test_submit_can_name_whom_to_tell(run: Run, service: FakeService) -> None:
    run("submit", "match", "--set", 'texts=["a"]', "--webhook", "https://example.org/hook")
    assert service.body()["webhook"] == {"url": "https://example.org/hook"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with three pictures, and something else."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "a.jpg", "c.jpg", "notes.txt"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("word", "names"), [("", ["a.jpg", "b.png", "c.jpg"]), ("*.jpg", ["a.jpg", "c.jpg"])]
)
def test_each_picture_of_a_folder_or_a_pattern_is_a_job(
    run: Run, service: FakeService, photos: Path, word: str, names: list[str]
) -> None:
    done = run("submit", "classify", "--image", str(photos / word), "--each", "--set", "top_k=2", "--cache")

    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == names
    assert "many_0" in done.stdout
    assert [submission["input"]["image"] for submission in service.body()] == [
        {"part": f"file-{number}"} for number in range(len(names))
    ]
    assert all(submission["input"]["top_k"] == 2 and submission["cache"] for submission in service.body())


def test_each_picture_is_waited_for_and_saved(
    run: Run, service: FakeService, photos: Path, tmp_path: Path
) -> None:
    words = ["--image", str(photos / "a.jpg"), "--image", str(photos / "missing.jpg"), "--each"]

    done = run("submit", "classify", *words, "--wait", "--json", "--out", str(tmp_path / "out"))

    assert done.exit_code == 1
    [well, missing] = json.loads(done.stdout)
    assert well["job"]["status"] == "succeeded"
    assert missing["error"]["code"] == "unreadable_file"
    assert [path.name for path in (tmp_path / "out").rglob("*.json")] == ["many_0.json"]


def test_a_pattern_without_a_picture_is_refused(run: Run, photos: Path) -> None:
    done = run("submit", "classify", "--image", str(photos / "*.gif"), "--each")
    assert done.exit_code == 2
    assert "no picture in" in done.stderr


SYSTEM = {
    "workers": [
        {
            "host": "box",
            "pid": 7,
            "device": "cuda:0",
            "pools": ["default", "gpu-large"],
            "slots": 32,
            "profile": "full",
            "memory_bytes": 1_234_567_890,
            "items": 12_345,
            "batches": {"ImageEncoder.encode_images": {"1": 600, "8": 1_500}},
            "models": [
                {"capability": "ImageEncoder", "id": "vit", "bytes": 300_000_000, "resident": True},
                {"capability": "Generator", "id": "gone", "bytes": 0, "resident": False},
            ],
            "mood": "new",
        },
        {},
    ],
    "backlog": {"default": 12},
    "scaling": {"default": {"queued": 12, "queued_per_slot": 0.4}},
    "weather": "fine",
}


def test_system_shows_workers_models_and_backlog(run: Run, service: FakeService) -> None:
    service.system = SYSTEM

    words = " ".join(run("system").stdout.split())

    for part in ("box:7", "cuda:0", "default,gpu-large", "1.23 GB", "12,345", "2,100", "vit 300 MB"):
        assert part in words
    assert "gone" not in words
    assert "queued: default 12" in words
    assert "scaling: default (queued 12, queued_per_slot 0.4)" in words


def test_system_shows_which_models_a_worker_lacks(run: Run, service: FakeService) -> None:
    service.system = {"workers": [{"host": "box", "pid": 7, "missing": {"Captioner": "not pulled"}}]}

    assert "box:7 lacks Captioner: not pulled" in run("system").stdout


def test_system_tells_when_nobody_works(run: Run, service: FakeService) -> None:
    done = run("system")
    assert "no worker ready" in done.stdout
    assert "queued: nothing" in done.stdout


def test_system_as_json_keeps_what_a_newer_service_says(run: Run, service: FakeService) -> None:
    service.system = SYSTEM

    said = json.loads(run("system", "--json").stdout)

    assert said["weather"] == "fine"
    assert said["workers"][0]["mood"] == "new"


def test_json_is_json_and_nothing_else(run: Run, service: FakeService) -> None:
    service.changes = [{"status": "succeeded", "version": 2, "result": RESULT}]

    job = json.loads(run("wait", "job_1", "--json").stdout)

    assert job["result"] == RESULT
    assert job["new_field"] == 7


def test_out_saves_the_job_and_its_artifacts_inside_the_folder(
    run: Run, service: FakeService, tmp_path: Path
) -> None:
    artifact = {
        "name": "../heat.png",
        "media_type": "image/png",
        "bytes": 3,
        "href": "/v1/jobs/job_1/artifacts/h",
    }
    service.job |= {"status": "succeeded", "version": 2, "artifacts": [artifact]}
    service.script = [httpx.Response(200, json=service.job), httpx.Response(200, content=b"png")]

    done = run("get", "job_1", "--out", str(tmp_path / "out"))

    assert done.exit_code == 0
    assert (tmp_path / "out" / "heat.png").read_bytes() == b"png"
    assert json.loads((tmp_path / "out" / "job_1.json").read_text())["id"] == "job_1"


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (httpx.ConnectError("refused"), 3, "start the service with `iconotext up`"),
        (problem(500, "internal", "went wrong"), 3, "went wrong"),
        (problem(404, "not_found", "no job of this id"), 2, "no job of this id"),
    ],
    ids=["nobody there", "broken", "refused"],
)
def test_what_goes_wrong_is_one_line_and_a_status(
    run: Run, service: FakeService, answer: httpx.Response | Exception, status: int, words: str
) -> None:
    service.script = [answer] * 3

    done = run("get", "job_9")

    assert done.exit_code == status
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_job_that_failed_is_status_one_with_its_reason(run: Run, service: FakeService) -> None:
    error = {"code": "model_failed", "message": "the model fails on item 0"}
    service.job |= {"status": "failed", "version": 3, "attempt": 2, "error": error}

    done = run("wait", "job_1")

    assert done.exit_code == 1
    assert "failed (attempt 2)" in done.stdout
    assert "the model fails on item 0 (model_failed)" in done.stdout


def test_several_jobs_are_waited_for_and_shown(run: Run, jobs: dict[str, Any]) -> None:
    done = run("wait", *jobs)

    assert done.exit_code == 0
    assert all(f"{job_id} succeeded" in done.stdout for job_id in jobs)


def test_one_of_several_that_failed_is_status_one(run: Run, jobs: dict[str, Any]) -> None:
    jobs["many_0"] |= {"status": "failed"}

    done = run("wait", *jobs, "--json")

    assert done.exit_code == 1
    assert [job["status"] for job in json.loads(done.stdout)] == ["failed", "succeeded"]


def test_what_quiet_prints_can_be_waited_for(run: Run, photos: Path) -> None:
    told = run("submit", "classify", "--image", str(photos), "--quiet")

    done = run("wait", *told.stdout.split(), "--quiet")

    assert len(told.stdout.split()) == 3
    assert (done.exit_code, done.stdout) == (0, "")


def test_several_jobs_are_saved_apart(run: Run, jobs: dict[str, Any], tmp_path: Path) -> None:
    done = run("wait", *jobs, "--out", str(tmp_path / "out"))

    assert done.exit_code == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")) == [
        "out/many_0/many_0.json",
        "out/many_1/many_1.json",
    ]


def test_several_jobs_are_shown_as_they_stand(run: Run, jobs: dict[str, Any]) -> None:
    done = run("get", *jobs, "--json")
    assert [job["status"] for job in json.loads(done.stdout)] == ["queued", "queued"]


def test_several_jobs_are_canceled(run: Run, jobs: dict[str, Any]) -> None:
    done = run("cancel", *jobs)

    assert done.exit_code == 0
    assert {job["status"] for job in jobs.values()} == {"canceled"}


def test_several_of_which_one_is_not_there_are_status_two(run: Run, jobs: dict[str, Any]) -> None:
    done = run("wait", *jobs, "job_9")
    assert done.exit_code == 2
    assert "there is no job 'job_9'" in done.stderr


def test_several_that_take_too_long_are_status_four(
    run: Run, service: FakeService, jobs: dict[str, Any]
) -> None:
    service.pace = 0
    done = run("wait", *jobs, "--timeout", "0.01")
    assert done.exit_code == 4
    assert "and 1 more have not ended" in done.stderr


def test_looking_at_a_failed_job_is_no_failure(run: Run, service: FakeService) -> None:
    service.job |= {"status": "failed", "version": 3}
    assert run("get", "job_1").exit_code == 0


def test_waiting_too_long_is_status_four(run: Run) -> None:
    done = run("wait", "job_1", "--timeout", "0.01")
    assert done.exit_code == 4
    assert "it goes on" in done.stderr


def test_an_interrupt_is_status_130_without_a_traceback(run: Run, service: FakeService) -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    service.script = [interrupt]

    done = run("wait", "job_1")

    assert done.exit_code == 130
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "words",
    [
        ["submit"],
        ["submit", "paint", "--text", "x"],
        ["submit", "classify", "--text", "a", "--text", "b"],
        ["submit", "match", "--image", "/no/such.jpg"],
        ["submit", "match", "--set", "nonsense"],
        ["submit", "match", "--label", "nonsense"],
        ["submit", "match", "--priority", "urgent"],
        ["retry"],
        ["retry", "job_1", "--error", "timeout"],
        ["--url", "nonsense", "tasks"],
        ["fly"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_two_or_three_without_a_traceback(run: Run, words: list[str]) -> None:
    done = run(*words)
    assert done.exit_code == (3 if "--url" in words else 2)
    assert "Traceback" not in done.output
    assert done.stderr


def test_list_prints_whole_ids(run: Run, service: FakeService) -> None:
    jobs = [{**service.job, "id": f"job_{number:040}"} for number in range(3)]
    service.script = [httpx.Response(200, json={"jobs": jobs, "next_page_token": "more"})]

    done = run("list", "--status", "queued", "--label", "run=7", "--limit", "2")

    assert "job_" + "0" * 39 + "1" in done.stdout
    assert "job_" + "0" * 39 + "2" not in done.stdout
    assert dict(service.requests[0].url.params) == {"status": "queued", "label.run": "7", "page_size": "2"}


def test_tasks_lists_the_catalogue_with_its_inputs(run: Run) -> None:
    done = run("tasks")
    assert "what classify does" in done.stdout
    assert "image [text] [labels] [head] [top_k]" in done.stdout
    assert "no worker ready" in " ".join(done.stdout.split())


def test_cancel_shows_how_the_job_stands(run: Run) -> None:
    done = run("cancel", "job_1")
    assert done.exit_code == 0
    assert "canceled" in done.stdout


def test_deleted_jobs_are_said(run: Run, service: FakeService) -> None:
    service.script = [httpx.Response(204)] * 6

    assert run("delete", "job_1", "job_2").stdout == "deleted job_1\ndeleted job_2\n"
    assert json.loads(run("delete", "job_1", "job_2", "--json").stdout) == {"deleted": ["job_1", "job_2"]}
    assert run("delete", "job_1", "job_2", "--quiet").stdout == ""


def test_list_finds_jobs_by_their_error(run: Run, service: FakeService) -> None:
    service.script = [httpx.Response(200, json={"jobs": [service.job], "next_page_token": None})]

    assert run("list", "--error", "attempts_exhausted").exit_code == 0
    assert service.requests[0].url.params["error"] == "attempts_exhausted"


def test_retry_queues_the_named_jobs_and_shows_them(run: Run, service: FakeService) -> None:
    service.job |= {"status": "failed"}

    done = run("retry", "job_1", "--json")

    assert done.exit_code == 0
    assert [(job["status"], job["generation"]) for job in json.loads(done.stdout)] == [("queued", 2)]


def test_a_job_that_is_not_there_cannot_be_retried(run: Run, service: FakeService) -> None:
    done = run("retry", "job_1", "job_9")
    assert done.exit_code == 2
    assert "no such thing" in done.stderr


@pytest.mark.parametrize(("answer", "generation"), [("y\n", 2), ("n\n", 1)])
def test_retrying_all_with_an_error_asks_first(
    run: Run, service: FakeService, answer: str, generation: int
) -> None:
    service.job |= {"status": "failed", "generation": 1}
    service.script = [httpx.Response(200, json={"jobs": [service.job], "next_page_token": None})]

    done = run("retry", "--error", "attempts_exhausted", given=answer)

    assert done.exit_code == (0 if generation == 2 else 1)
    assert "retry 1 jobs?" in done.stderr
    assert service.job["generation"] == generation


def test_retrying_all_with_an_error_can_be_told_not_to_ask(run: Run, service: FakeService) -> None:
    service.job |= {"status": "failed"}
    service.script = [httpx.Response(200, json={"jobs": [service.job], "next_page_token": None})]

    assert run("retry", "--error", "attempts_exhausted", "--yes").exit_code == 0
    assert service.requests[0].url.params["error"] == "attempts_exhausted"
    assert service.job["generation"] == 2


def test_the_help_names_every_exit_status(run: Run) -> None:
    words = " ".join(run("--help").stdout.split())
    for meaning in (
        "0 done",
        "1 the job ended",
        "2 wrong usage",
        "3 the service cannot",
        "4 the time",
        "130",
    ):
        assert meaning in words


def test_a_stack_that_cannot_run_shows_the_end_of_its_log(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: object) -> None:
        raise StackFailed("worker-1 died (status 2) while starting", tail="no such profile: nonesuch")

    monkeypatch.setattr("client.stack.plan.make_plan", fail)

    done = run("up")

    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "no such profile: nonesuch",
        "error: worker-1 died (status 2) while starting",
    ]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], {"workers": 1, "device": None, "pools": None}),
        (["--workers", "auto"], {"workers": None}),
        (
            ["--workers", "3", "--device", "cuda:1", "--pools", "a,b"],
            {"workers": 3, "device": "cuda:1", "pools": "a,b"},
        ),
    ],
    ids=["bare", "auto", "named"],
)
def test_up_plans_what_it_is_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], asked: dict[str, object]
) -> None:
    seen: dict[str, object] = {}

    def plan(**options: object) -> None:
        seen.update(options)
        raise StackFailed("enough")

    monkeypatch.setattr("client.stack.plan.make_plan", plan)

    assert run("up", *words).exit_code == 1
    assert {name: seen[name] for name in asked} == asked


@pytest.mark.parametrize("workers", ["0", "65", "many", "-1", "1.5", ""])
def test_a_number_of_workers_that_is_none_is_refused(run: Run, workers: str) -> None:
    done = run("up", "--workers", workers)
    assert done.exit_code == 2
    assert "--workers is auto or 1 to 64" in done.stderr


def test_the_database_is_upgraded_from_and_to(tmp_path: Path) -> None:
    env = {**os.environ, "ICONOTEXT_DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.db'}"}

    def upgrade(*words: str) -> str:
        argv = [sys.executable, "-m", "client", "db", "upgrade", *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True).stdout

    first = json.loads(upgrade("--json"))

    assert first["from"] is None
    assert first["to"]
    assert f"is at revision {first['to']} already" in upgrade()


def test_a_database_out_of_reach_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICONOTEXT_DATABASE_URL", "oracle://host/jobs")

    done = run("db", "upgrade")

    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
