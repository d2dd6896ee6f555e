"""`iconotext submit`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from client.each import find_pictures, stands_for_many, submit_each
from client.errors import RequestRefused
from client.inputs import parse_settings
from client.models import Options
from client.options import AsJson, OutDir, Quiet, TaskName, WaitTime, connected
from client.output import Output, finish, finish_each, pairs, show
from client.progress import watched
from client.submissions import Submission


def submit(
    *,
    ctx: typer.Context,
    task: TaskName,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            metavar="FILE",
            help="A picture: a path, a stored file's id, a URL; or a folder or a 'pattern*', for a job each. "
            "Repeatable.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="A text. Repeatable.")
    ] = None,
    video: Annotated[
        list[str] | None,
        typer.Option("--video", metavar="FILE", help="A film: a path, a stored file's id, or a URL."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="K=V",
            help="A field of the input: `top_k=3`, `labels=cat,dog`, `style.name=mosaic`, or JSON.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="K=V", help="Your own name for the job, to find it again."),
    ] = None,
    priority: Annotated[
        str | None,
        typer.Option(
            "--priority", help="high, normal or low.", autocompletion=lambda: ["high", "normal", "low"]
        ),
    ] = None,
    start_within: Annotated[
        float | None,
        typer.Option("--start-within", metavar="S", help="Let the job expire when it has not begun by then."),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", metavar="S", help="Let the job fail when it runs longer.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Let equal work that was done before answer at once.")
    ] = False,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Whom to tell when the job has ended.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="A job for each picture, where no folder or pattern is among them.")
    ] = False,
    wait_for_it: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: WaitTime = None,
    out: OutDir = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job, or one for each picture of a folder or a pattern."""
    options = _options(label, priority, start_within, time_limit, cache=cache, webhook=webhook)
    images, texts = image or [], text or []
    output = Output(as_json=as_json, is_quiet=quiet, out=out)
    is_waited_for = wait_for_it or out is not None
    with connected(ctx) as client:
        fields = parse_settings(client.task(task), settings or []) if settings else {}
        if each or any(map(stands_for_many, images)):
            images = find_pictures(images)
            todo = [Submission(task, fields, images=[one], texts=texts, options=options) for one in images]
            done = submit_each(client, images, todo, wait=is_waited_for, timeout=timeout, is_quiet=quiet)
            finish_each(client, done, texts, output)
            return
        job = client.submit(task, fields, images=images, texts=texts, videos=video or [], options=options)
        if is_waited_for:
            job = watched(client, job.id, timeout, is_quiet=quiet)
        finish(client, job, output, names=(images, texts), is_new=True)
        if not (is_waited_for or as_json or quiet):
            show(Text(f"wait for it: iconotext wait {job.id}", style="dim"))


def _options(
    labels: list[str] | None,
    priority: str | None,
    start_within: float | None,
    time_limit: float | None,
    *,
    cache: bool,
    webhook: str | None,
) -> Options:
    if priority not in (None, "high", "normal", "low"):
        raise RequestRefused(f"--priority is high, normal or low, not {priority!r}", code="usage")
    return Options.model_validate(
        {
            "priority": priority,
            "start_within_s": start_within,
            "timeout_s": time_limit,
            "labels": pairs(labels) if labels else None,
            "cache": cache or None,
            "webhook": {"url": webhook} if webhook else None,
        }
    )
