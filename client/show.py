"""Jobs, lists of jobs and the catalogue, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from client import results
from client.models import Job, Task

_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "canceled": "yellow",
    "expired": "yellow",
    "running": "cyan",
}


def job_view(job: Job, images: Sequence[str] = (), texts: Sequence[str] = ()) -> RenderableType:
    """Return a job as people read it.

    Args:
        images: names for the pictures of its input, in order, where they are known.
        texts: its texts, likewise.
    """
    parts: list[RenderableType] = [_headline(job)]
    if job.error is not None:
        parts.append(Text(f"{job.error.message} ({job.error.code})", style="red"))
    if job.result is not None:
        parts.append(results.result_view(job.result, images, texts))
    parts += [
        Text(f"artifact {item.name}: {item.media_type}, {item.bytes:,} bytes") for item in job.artifacts
    ]
    if models := models_of(job):
        parts.append(Text(f"by {', '.join(models)}", style="dim"))
    return Group(*parts)


def jobs_view(jobs: Sequence[Job], now: datetime) -> Table:
    """Return jobs as a table; ids are never cut, they are there to be copied."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True, min_width=max([len(job.id) for job in jobs], default=0))
    for name in ("task", "status", "age", "total ms"):
        table.add_column(name, no_wrap=True)
    for job in jobs:
        table.add_row(job.id, job.task, status_text(job), _age(job, now), milliseconds(job, "total"))
    return table


def tasks_view(tasks: Iterable[Task]) -> Table:
    """Return the catalogue as a table."""
    headings = ("task", "input", "what it does", "grade")
    table = Table(*headings, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for task in tasks:
        required = set(task.input_schema.get("required", ()))
        names = [
            name if name in required else f"[{name}]" for name in task.input_schema.get("properties", {})
        ]
        cells = (" ".join(names), task.summary, _availability(task))
        table.add_row(
            Text(task.name, style="bold"), *map(Text, cells), style=None if task.available else "dim"
        )
    return table


def _availability(task: Task) -> str:
    """Return the grades of a task's models, or why no worker does it now."""
    if not task.available:
        return f"unavailable: {task.unavailable_because or 'no worker is ready for it'}"
    return ", ".join(sorted({str(model.get("grade")) for model in task.models})) or "no worker ready"


def result_in_words(job: Job, texts: Sequence[str] = ()) -> str:
    """Return the gist of a job's result in one line."""
    return results.result_in_words(job.result or {}, texts)


def models_of(job: Job) -> list[str]:
    """Return which models answered, each once and with its grade."""
    models = (job.provenance or {}).get("models", [])
    return list(dict.fromkeys(f"{model['id']} ({model['grade']})" for model in models))


def milliseconds(job: Job, name: str) -> str:
    """Return one of a job's timings, or nothing where it has none."""
    value = (job.timings_ms or {}).get(name)
    if value is None and name == "total" and job.created_at and job.finished_at:
        value = (job.finished_at - job.created_at).total_seconds() * 1000
    return "" if value is None else f"{value:,.0f}"


def _headline(job: Job) -> Text:
    words = Text.assemble((job.task, "bold"), f" {job.id} ", status_text(job))
    if job.queue is not None and job.queue.position is not None:
        words.append(f", {job.queue.position} before it")
        if job.queue.eta_s is not None:
            words.append(f", starts in about {job.queue.eta_s:.0f} s")
    if total := milliseconds(job, "total"):
        words.append(f" in {total} ms", style="dim")
    return words


def status_text(job: Job) -> Text:
    """Return a job's state in its colour."""
    words = f"{job.status} (attempt {job.attempt})" if job.attempt > 1 else job.status
    return Text(words, style=_STYLES.get(job.status, ""))


def _age(job: Job, now: datetime) -> str:
    if job.created_at is None:
        return ""
    seconds = max(0.0, (now - job.created_at).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
