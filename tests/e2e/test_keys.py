"""Keys on a real service: made and revoked from another process, refused within a second."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from client import Client, RequestRefused
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


def test_a_revoked_key_is_refused_within_a_second(guarded: Up) -> None:
    token = _make(guarded)
    bearer = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=guarded.url, headers=bearer) as http:
        assert http.get("/v1/jobs").status_code == 200
        revoked = guarded.command("keys", "revoke", token, "--json")
        at = time.monotonic()
        assert json.loads(revoked.stdout)["state"] == "revoked"

        eventually(lambda: http.get("/v1/jobs").status_code == 401, seconds=1.0)

        assert time.monotonic() - at < 1.0


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
