"""`iconotext cancel`, `retry`, `delete`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from client.errors import RequestRefused
from client.looking import show_jobs
from client.models import Job
from client.options import AsJson, ErrorOption, JobIds, Quiet, SomeJobIds, connected
from client.output import Output, finish_all, show, show_json
from client.sdk import Client


def cancel(ctx: typer.Context, job_ids: JobIds, *, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Cancel jobs."""
    with connected(ctx) as client:
        jobs = [client.cancel(job_id) for job_id in job_ids]
        finish_all(client, jobs, Output(as_json=as_json, is_quiet=quiet), checked=False)


def retry(
    ctx: typer.Context,
    job_ids: SomeJobIds = None,
    error: ErrorOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --error retries them all.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run jobs again that failed, were canceled or expired.

    Those named, or all with one error.
    """
    with connected(ctx) as client:
        jobs = [client.retry(job) for job in _to_retry(client, job_ids or [], error, yes=yes)]
    if as_json or not (quiet and job_ids):
        show_jobs(jobs, as_json=as_json, is_quiet=quiet)


def delete(
    ctx: typer.Context,
    job_ids: JobIds,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Delete jobs with all that they made.

    Whatever their state; a worker at one stops.
    """
    with connected(ctx) as client:
        for job_id in job_ids:
            client.delete(job_id)
            if not (quiet or as_json):
                show(Text(f"deleted {job_id}"))
    if as_json:
        show_json({"deleted": job_ids})


def _to_retry(client: Client, job_ids: list[str], error: str | None, *, yes: bool) -> list[Job]:
    if bool(job_ids) == bool(error):
        raise RequestRefused("name the jobs to retry, or an --error that they all have", code="usage")
    found = [client.get(job_id) for job_id in job_ids] if job_ids else list(client.list(error=error))
    if error and found and not yes:
        typer.confirm(f"retry {len(found)} jobs?", abort=True, err=True)
    return found
