"""A service in memory and a client of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from client import AsyncClient, Client
from client.cli import app
from tests.unit.client.awaited import Awaited
from tests.unit.client.fake_service import FakeService

#: Runs `iconotext` with these words, and `given` typed; returns what it printed, and its exit status.
Run = Callable[..., Result]


@pytest.fixture
def service() -> FakeService:
    return FakeService(
        job={"id": "job_1", "task": "match", "status": "queued", "version": 1, "attempt": 0, "new_field": 7}
    )


@pytest.fixture
def jobs(service: FakeService) -> dict[str, dict[str, Any]]:
    """Return two queued jobs of the service, by id."""
    for number in range(2):
        service.many[f"many_{number}"] = {**service.job, "id": f"many_{number}"}
    return service.many


@pytest.fixture(params=[Client, AsyncClient], ids=["blocking", "awaited"])
def kind(request: pytest.FixtureRequest) -> Any:
    """Return one of the clients' classes; both keep the same promises."""
    return request.param


@pytest.fixture
def client(kind: Any, service: FakeService) -> Iterator[Client]:
    with connected(kind, "http://service", transport=service) as made:
        yield made


def connected(kind: Any, url: str, **options: Any) -> Client:
    """Return a client of a class, the awaited one as if it blocked."""
    made = kind(url, **options)
    return made if kind is Client else cast("Client", Awaited(made))


@pytest.fixture
def run(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs the command against the service in memory."""

    def connect(url: str, **options: Any) -> Client:
        return Client(url, transport=service, **options)

    monkeypatch.setattr("client.options.Client", connect)
    monkeypatch.setattr("client.completing.Client", connect)
    monkeypatch.delenv("ICONOTEXT_URL", raising=False)

    def invoke(*words: str, given: str | None = None, **env: str) -> Result:
        return CliRunner().invoke(app, list(words), env={"COLUMNS": "200", **env}, input=given)

    return invoke


@pytest.fixture(autouse=True)
def _logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command sets up its process's logs, away from stdout; this process is every other test's too."""
    monkeypatch.setattr("shared.telemetry.configure", lambda *words: None)
    with capture_logs():
        yield


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and polls do not wait here: no test is about how long they do."""
    monkeypatch.setattr("client.waiting._BREATH_S", 0.0)
    monkeypatch.setattr("client.waiting._OUTAGE_PAUSE_S", 0.0)
    monkeypatch.setattr("client.transport._PAUSES_S", (0.0, 0.0))
