"""Keys on a real service: made and revoked from another process, refused within a second."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from client import Client, RequestRefused
from shared.database import Database
from shared.keys import id_in
from shared.store import JobStore
from tests.e2e.conftest import Up, eventually


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("keys") / "data", "--host", "0.0.0.0")  # noqa: S104
    up.env["ICONOTEXT_DATA_DIR"] = str(up.data_dir)
    try:
        yield up.wait_until_ready()
    finally:
        up.stop()


def _make(up: Up, *words: str) -> str:
    made = up.command("keys", "create", "test", "--quiet", *words)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def test_a_public_address_asks_for_keys_and_says_how_to_make_one(guarded: Up) -> None:
    with guarded.client() as client, pytest.raises(RequestRefused, match="iconotext keys create"):
        client.submit("embed", texts=["a"])
    assert "iconotext keys create" in guarded.output


def test_a_key_gets_its_jobs_done(guarded: Up) -> None:
    with Client(guarded.url, api_key=_make(guarded, "--tenant", "acme")) as client:
        assert client.run("embed", texts=["a cat"]).succeeded
    with Client(guarded.url, api_key=_make(guarded, "--tenant", "other")) as client:
        assert list(client.list()) == []


@pytest.fixture
def beside(guarded: Up, tmp_path: Path) -> Iterator[list[str]]:
    """Return the URLs of two more processes of the API, on the same database."""
    env = {**guarded.env, "ICONOTEXT_REQUIRE_KEYS": "true"}
    processes, urls = [], []
    try:
        for number in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                address = f"127.0.0.1:{free.getsockname()[1]}"
            words = ["-k", "gthread", "--no-control-socket", "-b", address, "api.app:create_app()"]
            with (tmp_path / f"api-{number}.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "gunicorn", *words], env=env, stdout=log, stderr=log
                )
            processes.append(process)
            urls.append(f"http://{address}")
        for url in urls:
            eventually(lambda url=url: _is_up(url), seconds=90.0)
        yield urls
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(45.0)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").is_success
    except httpx.TransportError:
        return False


def test_a_revoked_key_is_refused_within_a_second_by_every_process(guarded: Up, beside: list[str]) -> None:
    token = _make(guarded)
    key_id = id_in(token)
    assert key_id is not None
    with ExitStack() as opened:
        database = opened.enter_context(
            closing(Database(f"sqlite:///{guarded.data_dir / 'iconotext.db'}", pool_size=1))
        )
        store = JobStore(database, lease=timedelta(seconds=30), max_attempts=3)
        bearer = {"Authorization": f"Bearer {token}"}
        everybody = [
            opened.enter_context(httpx.Client(base_url=url, headers=bearer)) for url in (guarded.url, *beside)
        ]

        def answers() -> list[int]:
            return [http.get("/v1/jobs").status_code for http in everybody]

        # Each has just seen that the key is good.
        assert answers() == [200, 200, 200]
        store.revoke_key(key_id)
        at = time.monotonic()
        eventually(lambda: answers() == [401, 401, 401], seconds=1.0)

        assert time.monotonic() - at < 1.0
        assert answers() == [401, 401, 401]


def test_a_key_that_a_command_revokes_is_refused(guarded: Up) -> None:
    token = _make(guarded)
    with httpx.Client(base_url=guarded.url, headers={"Authorization": f"Bearer {token}"}) as http:
        assert http.get("/v1/jobs").status_code == 200

        revoked = guarded.command("keys", "revoke", token, "--json")

        assert json.loads(revoked.stdout)["state"] == "revoked"
        eventually(lambda: http.get("/v1/jobs").status_code == 401, seconds=1.0)


def test_a_quota_that_is_set_works_on_a_running_service(guarded: Up) -> None:
    with httpx.Client(
        base_url=guarded.url, headers={"Authorization": f"Bearer {_make(guarded, '--tenant', 'small')}"}
    ) as http:
        assert http.get("/v1/jobs").status_code == 200
        guarded.command("tenants", "set", "small", "--requests-per-minute", "2")

        eventually(lambda: http.get("/v1/jobs").status_code == 429, seconds=5.0)


def test_the_trail_of_a_job_leads_from_its_request_to_its_worker(
    start: Callable[..., Up],
) -> None:
    running = start(ICONOTEXT_LOG_LEVEL="DEBUG", ICONOTEXT_LOG_FORMAT="json").wait_until_ready()
    sent = {"task": "embed", "input": {"texts": ["a"]}}
    with httpx.Client(base_url=running.url) as http:
        job = http.post(
            "/v1/jobs", json=sent, headers={"X-Request-Id": "trail-1", "Prefer": "wait=20"}
        ).json()
    assert job["status"] == "succeeded"

    def told(log: str) -> list[dict[str, object]]:
        lines = (running.data_dir / "logs" / log).read_text().splitlines()
        return [
            line
            for text in lines
            if text.startswith("{") and "trail-1" in (line := json.loads(text)).values()
        ]

    eventually(lambda: len(told("worker-1.log")) >= 2)
    [line] = [line for line in told("api.log") if line["event"] == "answered"]
    assert (line["route"], line["status"], line["tenant"]) == ("/v1/jobs", 200, "local")
    of_worker = {str(line["event"]): line for line in told("worker-1.log")}
    assert of_worker["settled"]["job"] == job["id"]
    assert of_worker["hint"]["hinted"] == job["id"]
