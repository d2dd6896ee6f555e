"""What a shell may complete; whatever goes wrong here, it completes nothing and says nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import typer

from client.sdk import Client

#: Whoever presses the tabulator does not wait longer.
_PATIENCE_S = 0.5
_STATES = ("queued", "running", "canceling", "succeeded", "failed", "canceled", "expired")


def complete_states(incomplete: str) -> list[str]:
    """Return the states that begin so."""
    return [state for state in _STATES if state.startswith(incomplete)]


def complete_tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the tasks of the service that begin so; none where it does not answer in half a second."""
    given = ctx.find_root().params
    found = _soon(lambda: _tasks(str(given["url"]), given.get("key")))
    return [name for name in found if name.startswith(incomplete)]


def _tasks(url: str, key: str | None) -> list[str]:
    with Client(url, api_key=key, timeout=_PATIENCE_S) as client:
        return [task.name for task in client.tasks()]


def _soon(ask: Callable[[], list[str]]) -> list[str]:
    """Return the answer if it comes soon: time-outs of a connection count from each of its bytes."""
    answers: list[list[str]] = []

    def work() -> None:
        try:
            answers.append(ask())
        except Exception:  # noqa: BLE001  # a shell's line is no place for an error
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return answers[0] if answers else []
