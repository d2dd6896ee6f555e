"""What several commands ask for, and how they reach the service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from client.completing import complete_states, complete_tasks
from client.sdk import Client

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but the ids of what was not named, and errors.")
]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB...", help="Jobs' ids.")]
SomeJobIds = Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Jobs' ids.")]
WaitTime = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", help="Wait no longer than this; default: until it ends."),
]
OutDir = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Save the job and its artifacts in this folder; of several, each in its own.",
    ),
]
TaskName = Annotated[
    str,
    typer.Argument(metavar="TASK", help="What to do; see `iconotext tasks`.", autocompletion=complete_tasks),
]
TaskOption = Annotated[
    str | None, typer.Option("--task", help="Only this task.", autocompletion=complete_tasks)
]
StatusOption = Annotated[
    list[str] | None,
    typer.Option("--status", help="Only these states. Repeatable.", autocompletion=complete_states),
]
ErrorOption = Annotated[
    str | None, typer.Option("--error", metavar="CODE", help="Only jobs that failed so: attempts_exhausted.")
]


@dataclass(frozen=True, slots=True)
class Connection:
    """Which service, and as whom."""

    url: str
    key: str | None


def connected(ctx: typer.Context) -> Client:
    """Return a client of the service that the command line, or the environment, names."""
    connection: Connection = ctx.obj
    return Client(connection.url, api_key=connection.key)
