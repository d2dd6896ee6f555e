"""What the worker's composition root makes of the settings, where they say whom it may call."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.errors import UrlRefused, WebhookRefused
from worker.app import url_targets, webhook_targets
from worker.settings import WorkerSettings
from worker.targets import Targets

WORLD = "93.184.215.14"
SHORT = timedelta(seconds=0.1)

Made = Callable[[WorkerSettings], Targets]

EACH = pytest.mark.parametrize(
    ("make", "refusal"), [(webhook_targets, WebhookRefused), (url_targets, UrlRefused)]
)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the addresses that names have."""
    found = {"world.example": WORLD, "inside.example": "10.0.0.1"}

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (found[host], port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


@EACH
@pytest.mark.usefixtures("names")
def test_what_is_called_is_of_the_public_internet(make: Made, refusal: type[Exception]) -> None:
    targets = make(WorkerSettings())

    assert targets.find("https://world.example/x").addresses == [WORLD]
    with pytest.raises(refusal):
        targets.find("https://inside.example/x")


@EACH
@pytest.mark.usefixtures("names")
def test_only_the_ports_that_the_operator_allows_are_called(make: Made, refusal: type[Exception]) -> None:
    targets = make(WorkerSettings(url_ports=(9000,)))

    assert targets.find("https://world.example:9000/x").endpoint.port == 9000
    with pytest.raises(refusal, match="allowed are 9000"):
        targets.find("https://world.example/x")


@pytest.mark.usefixtures("names")
def test_inside_is_called_only_for_what_the_operator_allowed_it() -> None:
    hooks, urls = WorkerSettings(webhook_private=True), WorkerSettings(url_private=True)
    inside = "http://inside.example:9/x"

    assert webhook_targets(hooks).find(inside).addresses == ["10.0.0.1"]
    assert url_targets(urls).find(inside).addresses == ["10.0.0.1"]
    with pytest.raises(UrlRefused):
        url_targets(hooks).find(inside)
    with pytest.raises(WebhookRefused):
        webhook_targets(urls).find(inside)


@EACH
def test_a_name_that_nobody_answers_for_is_not_waited_for(
    make: Made, refusal: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ending.wait())
    began = time.monotonic()

    with pytest.raises(TimeoutError) as caught:
        make(WorkerSettings(webhook_timeout=SHORT, fetch_time=SHORT)).find("https://world.example/x")
    ending.set()

    assert not isinstance(caught.value, refusal)
    assert time.monotonic() - began < 5
