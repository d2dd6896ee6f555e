"""Results for people: tables, bars, words. Chosen by the result's shape, so that a new task shows as well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.json import JSON
from rich.table import Table
from rich.text import Text

from client.models import Job, Task

_BAR_CELLS = 24
_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "canceled": "yellow",
    "expired": "yellow",
    "running": "cyan",
}

Result = Mapping[str, Any]


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
        parts.append(_result_view(job.result, images, texts))
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
        table.add_row(job.id, job.task, _status(job), _age(job, now), milliseconds(job, "total"))
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
        grades = ", ".join(sorted({str(model.get("grade")) for model in task.models})) or "no worker ready"
        table.add_row(Text(task.name, style="bold"), Text(" ".join(names)), Text(task.summary), Text(grades))
    return table


def result_in_words(job: Job, texts: Sequence[str] = ()) -> str:
    """Return the gist of a result in one line."""
    result = job.result or {}
    if "scores" in result and "best_texts" in result:
        return "; ".join(
            f"{_name(texts, best, 'text')} ({result['scores'][row][best]:.2f})"
            for row, best in enumerate(result["best_texts"])
        )
    if _are_labels(result.get("labels")):
        return ", ".join(f"{entry['label']} {entry['score']:.0%}" for entry in result["labels"][:3])
    if "dim" in result:
        return f"{_vectors(result)} of {result['dim']}"
    return _shortened(json.dumps(result, ensure_ascii=False), 80)


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
    words = Text.assemble((job.task, "bold"), f" {job.id} ", _status(job))
    if job.queue is not None and job.queue.position is not None:
        words.append(f", {job.queue.position} before it")
    if total := milliseconds(job, "total"):
        words.append(f" in {total} ms", style="dim")
    return words


def _status(job: Job) -> Text:
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


def _result_view(result: Result, images: Sequence[str], texts: Sequence[str]) -> RenderableType:
    views: list[tuple[bool, Callable[[], RenderableType]]] = [
        ("scores" in result and "best_texts" in result, lambda: _scores_view(result, images, texts)),
        (_are_labels(result.get("labels")), lambda: _labels_view(result)),
        ("dim" in result, lambda: _vectors_view(result)),
    ]
    for fits, view in views:
        if fits:
            return view()
    return JSON.from_data(dict(result))


def _scores_view(result: Result, images: Sequence[str], texts: Sequence[str]) -> Table:
    """One row for each text, one column for each image: texts are long, images have short names."""
    scores: Sequence[Sequence[float]] = result["scores"]
    table = Table("text", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in range(len(scores)):
        table.add_column(_name(images, column, "image"), justify="right")
    for row in range(len(scores[0]) if scores else 0):
        cells = [
            Text(f"{scores[column][row]:.3f}", style="bold green" if best == row else "")
            for column, best in enumerate(result["best_texts"])
        ]
        table.add_row(Text(_name(texts, row, "text")), *cells)
    return table


def _labels_view(result: Result) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for entry in result["labels"]:
        filled = round(entry["score"] * _BAR_CELLS)
        bar = Text.assemble(("█" * filled, "green"), ("░" * (_BAR_CELLS - filled), "dim"))
        table.add_row(Text(entry["label"]), bar, f"{entry['score']:.1%}")
    description = result.get("description")
    return Group(table, Text(str(description), style="italic")) if description else table


def _vectors_view(result: Result) -> Table:
    table = Table("vector", "dimensions", "begins", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for kind in ("image", "text"):
        for number, vector in enumerate(result.get(f"{kind}_vectors", ()), start=1):
            begins = _shortened(vector, 24) if isinstance(vector, str) else _numbers(vector[:4])
            table.add_row(f"{kind} {number}", str(result["dim"]), begins)
    return table


def _vectors(result: Result) -> str:
    counts = {kind: len(result.get(f"{kind}_vectors", ())) for kind in ("image", "text")}
    words = [f"{count} {kind} vector{'s' * (count > 1)}" for kind, count in counts.items() if count]
    return " and ".join(words)


def _numbers(vector: Sequence[float]) -> str:
    return " ".join(f"{value:+.3f}" for value in vector) + " …"


def _are_labels(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and {"label", "score"} <= entry.keys() for entry in value
    )


def _name(names: Sequence[str], index: int, kind: str) -> str:
    return _shortened(names[index], 60) if index < len(names) else f"{kind} {index + 1}"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
