"""Where a command's answer goes: the screen, files, the exit status."""

from __future__ import annotations

import json
import mimetypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from client.each import Done, each_view
from client.errors import RequestRefused
from client.models import Artifact, Job
from client.sdk import Client
from client.show import job_view


def finish(
    client: Client,
    job: Job,
    out: Path | None,
    as_json: bool,
    *,
    names: tuple[Sequence[str], Sequence[str]] = ((), ()),
    checked: bool = True,
) -> None:
    """Print a job, save it where asked, and exit 1 when it ended without success and is `checked`."""
    if as_json:
        show_json(job.to_json())
    else:
        images, texts = names
        show(job_view(job, [Path(image).name for image in images], texts))
    if out is not None:
        saved = _save(client, job, out)
        if not as_json:
            show(Text("\n".join(f"saved {path}" for path in saved)))
    if checked and job.is_terminal and not job.succeeded:
        raise typer.Exit(1)


def finish_each(
    client: Client, done: Sequence[Done], texts: Sequence[str], out: Path | None, as_json: bool
) -> None:
    """Print what became of each picture, save it where asked, and exit 1 when something did not succeed."""
    show_json([one.to_json() for one in done]) if as_json else show(each_view(done, texts))
    if out is not None:
        for one in done:
            if isinstance(one.outcome, Job):
                # Artifacts of different jobs have the same names.
                _save(client, one.outcome, out / one.outcome.id)
    if not all(one.is_well for one in done):
        raise typer.Exit(1)


def _save(client: Client, job: Job, folder: Path) -> list[Path]:
    """Write a job and its artifacts into a folder, and return the files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        saved = [folder / f"{job.id}.json"]
        saved[0].write_text(json.dumps(job.to_json(), indent=2, ensure_ascii=False) + "\n")
        for artifact in job.artifacts:
            saved.append(folder / _file_name(artifact))
            saved[-1].write_bytes(client.download(artifact.href))
    except OSError as error:
        raise RequestRefused(f"cannot write to {folder}: {error.strerror}", code="unwritable") from error
    return saved


def _file_name(artifact: Artifact) -> str:
    """Return a name for an artifact's file: the service's word for it may not lead out of the folder."""
    name = Path(artifact.name).name
    return name if Path(name).suffix else name + (mimetypes.guess_extension(artifact.media_type) or "")


def show(view: RenderableType) -> None:
    """Print something for people."""
    Console().print(view, highlight=False, soft_wrap=isinstance(view, Text))


def show_json(value: Any) -> None:
    """Print something for programs."""
    # Not through rich: it would wrap lines.
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
