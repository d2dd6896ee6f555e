"""Where a command's answer goes: the screen, files, the exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from client.each import Done, each_view
from client.errors import RequestRefused
from client.models import Job
from client.saving import safe_name
from client.sdk import Client
from client.show import job_view


@dataclass(frozen=True, slots=True)
class Output:
    """How a command answers."""

    as_json: bool
    is_quiet: bool
    #: Where to save jobs and their artifacts; None: nowhere.
    out: Path | None = None


def finish(
    client: Client,
    job: Job,
    output: Output,
    *,
    names: tuple[Sequence[str], Sequence[str]] = ((), ()),
    checked: bool = True,
    is_new: bool = False,
) -> None:
    """Print a job, save it where asked, and exit 1 when it ended without success and is `checked`.

    Args:
        names: of the pictures and texts of its input, where they are known.
        is_new: its id is news.
    """
    if output.as_json:
        show_json(job.to_json())
    elif output.is_quiet:
        show_names([job.id] if is_new else [])
    else:
        images, texts = names
        show(job_view(job, [Path(image).name for image in images], texts))
    if output.out is not None:
        saved = client.save(job, output.out)
        if not (output.as_json or output.is_quiet):
            show(Text("\n".join(f"saved {path}" for path in saved)))
    if checked and job.is_terminal and not job.succeeded:
        raise typer.Exit(1)


def finish_all(client: Client, jobs: Sequence[Job], output: Output, *, checked: bool = True) -> None:
    """Do what `finish` does for jobs that were named; of several, JSON is a list, and each has a folder."""
    if len(jobs) == 1:
        finish(client, jobs[0], output, checked=checked)
        return
    if output.as_json:
        show_json([job.to_json() for job in jobs])
    elif not output.is_quiet:
        show(Group(*map(job_view, jobs)))
    if output.out is not None:
        _save_apart(client, jobs, output.out)
    if checked and any(job.is_terminal and not job.succeeded for job in jobs):
        raise typer.Exit(1)


def finish_each(client: Client, done: Sequence[Done], texts: Sequence[str], output: Output) -> None:
    """Print what became of each picture, save it where asked, and exit 1 when something did not succeed."""
    if output.as_json:
        show_json([one.to_json() for one in done])
    elif output.is_quiet:
        _tell_quietly(done)
    else:
        show(each_view(done, texts))
    if output.out is not None:
        _save_apart(client, [one.outcome for one in done if isinstance(one.outcome, Job)], output.out)
    if not all(one.is_well for one in done):
        raise typer.Exit(1)


def _save_apart(client: Client, jobs: Iterable[Job], folder: Path) -> None:
    # Artifacts of different jobs have the same names.
    for job in jobs:
        client.save(job, folder / safe_name(job.id))


def _tell_quietly(done: Sequence[Done]) -> None:
    show_names(one.outcome.id for one in done if isinstance(one.outcome, Job))
    for one in done:
        if not isinstance(one.outcome, Job):
            show_error(f"{one.image}: {one.outcome}")


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Return the labels that `key=value` words name.

    Raises:
        RequestRefused: one is none.
    """
    found = dict(word.partition("=")[::2] for word in words)
    if not all("=" in word for word in words) or "" in found:
        raise RequestRefused("--label takes key=value", code="usage")
    return found


def show(view: RenderableType) -> None:
    """Print something for people."""
    Console().print(view, highlight=False, soft_wrap=isinstance(view, Text))


def show_names(names: Iterable[str]) -> None:
    """Print names, one a line, for other programs to read."""
    sys.stdout.writelines(f"{name}\n" for name in names)


def show_error(message: str) -> None:
    """Print what went wrong, in one line."""
    words = Text.assemble(("error: ", "bold red"), " ".join(message.split()))
    Console(stderr=True).print(words, soft_wrap=True)


def show_json(value: Any) -> None:
    """Print something for programs."""
    # Not through rich: it would wrap lines.
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
