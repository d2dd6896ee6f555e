"""A service in memory and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client import Client
from tests.unit.client.fake_service import FakeService


@pytest.fixture
def service() -> FakeService:
    return FakeService(
        job={"id": "job_1", "task": "match", "status": "queued", "version": 1, "attempt": 0, "new_field": 7}
    )


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client("http://service", transport=service) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and polls do not wait here: no test is about how long they do."""
    monkeypatch.setattr("client.waiting._BREATH_S", 0.0)
    monkeypatch.setattr("client.waiting._OUTAGE_PAUSE_S", 0.0)
    monkeypatch.setattr("client.transport._PAUSES_S", (0.0, 0.0))
