"""A shell completes tasks and states, soon and in silence, whatever the service does."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from tests.unit.client.conftest import Run
from tests.unit.client.fake_service import CATALOGUE, FakeService


def completed(run: Run, line: str, **env: str) -> list[str]:
    """Return what bash is offered for the last word of a line."""
    words = line.split(" ")
    asked = {
        "_ICONOTEXT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = run(**asked, **env)
    assert done.stderr == ""
    return [str(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("iconotext can", ["cancel"]),
        ("iconotext webhooks re", ["redeliver"]),
        ("iconotext submit c", ["classify"]),
        ("iconotext list --task ", ["classify", "match", "answer"]),
        ("iconotext list --status ca", ["canceling", "canceled"]),
        ("iconotext submit match --priority ", ["high", "normal", "low"]),
        ("iconotext submit x", []),
    ],
)
def test_commands_tasks_states_and_priorities_are_completed(run: Run, line: str, words: list[str]) -> None:
    assert completed(run, line) == words


def test_the_service_and_the_key_are_those_of_the_line(run: Run, service: FakeService) -> None:
    completed(run, "iconotext --url http://other submit c", ICONOTEXT_KEY="ik_1")

    [request] = service.requests
    assert request.url == "http://other/v1/tasks"
    assert request.headers["authorization"] == "Bearer ik_1"


@pytest.mark.parametrize(
    "answer", [httpx.ConnectError("refused"), httpx.Response(401), httpx.Response(200, text="<html>")]
)
def test_a_service_that_is_not_there_completes_nothing(
    run: Run, service: FakeService, answer: httpx.Response | Exception
) -> None:
    service.script = [answer] * 3
    assert completed(run, "iconotext submit c") == []


def test_a_url_that_is_none_completes_nothing(run: Run) -> None:
    assert completed(run, "iconotext --url nonsense submit c") == []


def test_nobody_waits_for_a_service_that_does_not_answer(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.completing._PATIENCE_S", 0.05)
    released = threading.Event()

    def hang(request: httpx.Request) -> Any:
        released.wait(3)
        return httpx.Response(200, json={"tasks": CATALOGUE})

    service.script = [hang]

    assert completed(run, "iconotext submit c") == []
    assert not released.is_set()
    released.set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(run: Run, shell: str) -> None:
    done = run(_ICONOTEXT_COMPLETE=f"source_{shell}")
    assert done.exit_code == 0
    assert "_ICONOTEXT_COMPLETE" in done.stdout
