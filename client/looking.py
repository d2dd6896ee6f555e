"""`iconotext get`, `wait`, `watch`, `list`, `tasks`, `system`: commands that change nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from client.models import Job
from client.options import (
    AsJson,
    ErrorOption,
    JobIds,
    OutDir,
    Quiet,
    SomeJobIds,
    StatusOption,
    TaskOption,
    WaitTime,
    connected,
)
from client.output import Output, finish_all, pairs, show, show_json, show_names
from client.overview import system_view
from client.progress import all_watched
from client.show import jobs_view, tasks_view
from client.watching import report_on

#: States of jobs that have not ended.
_UNDER_WAY = ("queued", "running", "canceling")


def get(
    ctx: typer.Context, job_ids: JobIds, out: OutDir = None, *, quiet: Quiet = False, as_json: AsJson = False
) -> None:
    """Show jobs as they stand."""
    with connected(ctx) as client:
        jobs = [client.get(job_id) for job_id in job_ids]
        finish_all(client, jobs, Output(as_json=as_json, is_quiet=quiet, out=out), checked=False)


def wait(
    ctx: typer.Context,
    job_ids: JobIds,
    timeout: WaitTime = None,
    out: OutDir = None,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Wait for jobs and show their results."""
    with connected(ctx) as client:
        jobs = all_watched(client, job_ids, timeout, is_quiet=quiet)
        finish_all(client, jobs, Output(as_json=as_json, is_quiet=quiet, out=out))


def watch(
    ctx: typer.Context,
    job_ids: SomeJobIds = None,
    timeout: WaitTime = None,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show the progress of jobs, live, until all have ended.

    Those named, or all that are under way. A table on a terminal; elsewhere a line for each change, with
    --json a line of JSON.
    """
    with connected(ctx) as client:
        ids = job_ids or [job.id for job in client.list(status=_UNDER_WAY)]
        if not report_on(client, ids, timeout, as_json=as_json, is_quiet=quiet):
            raise typer.Exit(1)


def list_jobs(
    *,
    ctx: typer.Context,
    status: StatusOption = None,
    error: ErrorOption = None,
    task: TaskOption = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="K=V", help="Only with this label. Repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = 20,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connected(ctx) as client:
        found = client.list(
            status=status or (),
            error=error,
            task=task,
            labels=pairs(label or []),
            page_size=min(limit, 100),
        )
        jobs = [job for job, _ in zip(found, range(limit), strict=False)]
    show_jobs(jobs, as_json=as_json, is_quiet=quiet)


def show_jobs(jobs: list[Job], *, as_json: bool, is_quiet: bool) -> None:
    """Print jobs as a table, as JSON, or their ids."""
    if as_json:
        show_json([job.to_json() for job in jobs])
    elif is_quiet:
        show_names(job.id for job in jobs)
    else:
        show(jobs_view(jobs, datetime.now(UTC)))


def tasks(ctx: typer.Context, *, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """List what the service can do."""
    with connected(ctx) as client:
        found = client.tasks()
    if as_json:
        show_json([task.to_json() for task in found])
    elif quiet:
        show_names(task.name for task in found)
    else:
        show(tasks_view(found))


def system(ctx: typer.Context, *, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Show the workers, the models they hold, and what waits for them."""
    with connected(ctx) as client:
        found = client.system()
    if as_json:
        show_json(found.to_json())
    elif not quiet:
        show(system_view(found))
