"""The API on each database, and behind a real server."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import create_app
from api.services import Services
from api.settings import ApiSettings
from shared.caching import result_key
from shared.jobs import Success, WorkerId
from shared.schemas import catalogue
from tests.unit.api.conftest import RecordingHints
from tests.unit.api.pictures import base64_png, png

JOB = {"task": "classify", "input": {"image": {"data": base64_png()}, "labels": ["cat"]}}
WORKER = WorkerId("worker-1")
DEADLINE_S = 20.0


@pytest.fixture
def app(database_url: str, tmp_path: Path) -> Iterator[Flask]:
    made = create_app(
        ApiSettings(database_url=database_url, data_dir=tmp_path, api_threads=8),
        hints=lambda _: RecordingHints(),
    )
    yield made
    made.extensions["iconotext"].close()


def test_a_job_goes_from_submit_to_result(app: Flask) -> None:
    client = app.test_client()
    services: Services = app.extensions["iconotext"]
    request = json.dumps(
        {"task": "classify", "input": {"image": {"part": "photo"}}, "labels": {"album": "summer"}}
    )

    job = client.post(
        "/v1/jobs", data={"request": request, "photo": (io.BytesIO(png()), "photo.png")}
    ).get_json()
    [claim] = services.store.claim(WORKER, ["default"])
    services.store.succeed(claim, Success(result={"labels": [{"label": "cat", "score": 1.0}]}))

    found = client.get("/v1/jobs?label.album=summer&status=succeeded&task=classify").get_json()["jobs"]
    assert [other["id"] for other in found] == [job["id"]]
    assert client.get(job["links"]["self"]).get_json()["result"]["labels"][0]["label"] == "cat"
    assert client.get(f"/v1/files/{claim.input['image']['file']}/content").get_data() == png()


def test_a_batch_goes_from_submit_to_results(app: Flask) -> None:
    client = app.test_client()
    services: Services = app.extensions["iconotext"]
    photo = {"task": "classify", "input": {"image": {"part": "photo"}}}
    text = {"task": "embed", "input": {"texts": ["a"]}, "cache": True}

    answer = client.post(
        "/v1/jobs:batch",
        data={"request": json.dumps([photo, {}, text]), "photo": (io.BytesIO(png()), "photo.png")},
    )
    made = [outcome.get("job", {}).get("id") for outcome in answer.get_json()["jobs"]]
    for claim in services.store.claim(WORKER, ["default"], 10):
        services.store.succeed(claim, Success(result={"of": claim.id}))

    assert [outcome["status"] for outcome in answer.get_json()["jobs"]] == [202, 422, 202]
    ids = [made[2], "job_" + "0" * 32, made[0]]
    found = client.post("/v1/jobs:get", json={"ids": ids, "wait_s": 10}).get_json()["jobs"]
    assert [job and job["result"]["of"] for job in found] == [made[2], None, made[0]]


def test_an_earlier_result_answers_an_equal_submit(app: Flask) -> None:
    client = app.test_client()
    services: Services = app.extensions["iconotext"]
    models = {"TextEncoder": {"id": "minilm", "revision": "1", "grade": "starter"}}
    services.store.announce(WORKER, {"models": models, "pools": ["default"], "slots": 4})
    body = {"task": "embed", "input": {"texts": ["a"], "space": "text"}, "cache": True}
    first = client.post("/v1/jobs", json=body).get_json()["id"]
    [claim] = services.store.claim(WORKER, ["default"])
    key = result_key(claim.task, claim.input, models, catalogue()["embed"].needs)
    services.store.succeed(claim, Success(result={"dim": 384}, cache_key=key))

    answer = client.post("/v1/jobs", json=body)

    assert (answer.status_code, answer.get_json()["cached_from"]) == (200, first)
    assert answer.get_json()["result"] == {"dim": 384}
    assert client.get("/v1/system").get_json()["scaling"]["default"]["slots"] == 4
    assert client.get("/metrics").status_code == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(
        ["status", "task", "created_after", "page_size", "page_token", "label.a", "label.", "wait", "x"]
    ),
    value=st.text(max_size=40)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(["$.a", "2026-01-01"]),
)
def test_no_parameter_makes_a_listing_fail(app: Flask, name: str, value: str) -> None:
    response = app.test_client().get("/v1/jobs", query_string={name: value})

    assert response.status_code in {200, 422}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50)
)
def test_any_text_is_stored_and_comes_back(app: Flask, text: str) -> None:
    body = {"task": "embed", "input": {"texts": ["a", "." + text]}, "labels": {"note": text[:50]}}

    job = app.test_client().post("/v1/jobs", json=body).get_json()

    assert job["labels"] == {"note": text[:50]}
    found = app.test_client().get("/v1/jobs", query_string={"label.note": text[:50]}).get_json()["jobs"]
    assert job["id"] in [other["id"] for other in found]


# --- behind gunicorn


@contextmanager
def served(
    url: str, folder: Path, *, threads: int = 8
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Run the API as an operator would, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "ICONOTEXT_DATABASE_URL": url,
        "ICONOTEXT_DATA_DIR": str(folder),
        "ICONOTEXT_API_THREADS": str(threads),
        # Nobody listens there: accepting jobs must not need the queue.
        "ICONOTEXT_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", str(threads)]
    command += ["--bind", f"127.0.0.1:{port}", "--no-control-socket", "api.app:create_app()"]
    log = (folder / "api.log").open("wb")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S, trust_env=False) as client:
            until(lambda: _is_alive(client))
            yield client, process
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        log.close()


def _is_alive(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        pause.wait(0.05)


def test_accepted_jobs_survive_a_kill_of_the_server(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path) as (client, process):
        accepted = [client.post("/v1/jobs", json=JOB).json()["id"] for _ in range(5)]
        _kill_group(process)

    with served(database_url, tmp_path) as (client, _):
        for job_id in accepted:
            assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "queued"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in [process.pid, *map(int, children)]:
        os.kill(pid, signal.SIGKILL)
    process.wait(DEADLINE_S)


def test_more_long_polls_than_threads_leave_room_for_submits(database_url: str, tmp_path: Path) -> None:
    with served(database_url, tmp_path, threads=8) as (client, _), ThreadPoolExecutor(16) as pool:
        job = client.post("/v1/jobs", json=JOB).json()
        polls = [pool.submit(client.get, f"{job['links']['self']}?wait=5") for _ in range(16)]
        began = time.monotonic()

        assert client.post("/v1/jobs", json=JOB).status_code == 202

        assert time.monotonic() - began < 4
        assert client.post(job["links"]["cancel"]).json()["status"] == "canceled"
        assert {poll.result().status_code for poll in polls} == {200}


def test_64_submits_that_wait_are_all_held_and_others_are_served(database_url: str, tmp_path: Path) -> None:
    limits = httpx.Limits(max_connections=80)
    threads = ApiSettings().api_threads
    with (
        served(database_url, tmp_path, threads=threads) as (client, _),
        httpx.Client(base_url=client.base_url, timeout=60, limits=limits, trust_env=False) as many,
        ThreadPoolExecutor(64) as pool,
    ):
        wait = {"Prefer": "wait=30"}
        held = [pool.submit(many.post, "/v1/jobs", json=JOB, headers=wait) for _ in range(64)]
        until(lambda: len(client.get("/v1/jobs?page_size=100").json()["jobs"]) == 64)

        # None was sent away, and there is room for others.
        assert not any(one.done() for one in held)
        for job in client.get("/v1/jobs?page_size=100").json()["jobs"]:
            assert client.post(job["links"]["cancel"]).json()["status"] == "canceled"
        assert {one.result().json()["status"] for one in held} == {"canceled"}


def test_an_upload_of_unknown_length_over_the_limit_is_refused_whole(
    database_url: str, tmp_path: Path
) -> None:
    with served(database_url, tmp_path) as (client, _):
        chunks = (png()[:8] + bytes(2**20) for _ in range(64))

        response = client.post("/v1/files", content=chunks, headers={"Content-Type": "image/png"})

        assert response.status_code == 413
        assert response.headers["Content-Type"] == "application/problem+json"
        assert not list((tmp_path / "blobs").rglob("?" * 64))


def test_a_chunked_upload_within_the_limit_is_stored_whole(database_url: str, tmp_path: Path) -> None:
    content = png() + bytes(3 * 2**20)
    with served(database_url, tmp_path) as (client, _):
        pieces = (content[start : start + 65_536] for start in range(0, len(content), 65_536))

        file = client.post("/v1/files", content=pieces, headers={"Content-Type": "image/png"}).json()

        assert client.get(file["links"]["content"]).content == content
