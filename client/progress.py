"""A job's progress as a bar, on a terminal; silence elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from client.models import Job
from client.sdk import Client


class Report(Protocol):
    def __call__(self, job: Job) -> None: ...


def watched(client: Client, job_id: str, timeout: float | None, *, is_quiet: bool) -> Job:
    """Return a job once it has ended, its progress on the screen meanwhile."""
    with job_bar(Console(stderr=True, quiet=is_quiet)) as report:
        return client.watch(job_id, timeout, report)


def all_watched(client: Client, ids: Sequence[str], timeout: float | None, *, is_quiet: bool) -> list[Job]:
    """Return the jobs once all have ended, in order; one's own progress, or how many have, on the screen."""
    if len(ids) == 1:
        return [watched(client, ids[0], timeout, is_quiet=is_quiet)]
    with counting(is_quiet=is_quiet) as progress:
        bar = progress.add_task("working", total=len(set(ids)))
        return client.wait_many(ids, timeout, lambda _: progress.advance(bar))


def counting(*, is_quiet: bool) -> Progress:
    """Return a bar that counts jobs, to be begun."""
    console = Console(stderr=True, quiet=is_quiet)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def job_bar(console: Console) -> Iterator[Report]:
    """Yield what to tell of each change of one job."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("waiting", total=1.0)

        def report(job: Job) -> None:
            progress.update(bar, description=_words(job), completed=job.progress.fraction)

        yield report


def _words(job: Job) -> str:
    words = f"{job.task} {job.status}"
    if job.status == "queued" and job.queue is not None and job.queue.position is not None:
        return f"{words}, {job.queue.position} before it"
    if job.attempt > 1:
        words += f", attempt {job.attempt}"
    return f"{words}: {job.progress.message or job.progress.stage}".rstrip(": ")
