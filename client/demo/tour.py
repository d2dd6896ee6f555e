"""The demo: photos, texts and a film through the whole service, over HTTP; then a table and a report."""

from __future__ import annotations

import string
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib import resources
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from client.demo.errands import Errand, errands
from client.demo.report import write_report
from client.errors import StackFailed
from client.models import Job
from client.sdk import Client
from client.show import milliseconds, models_of, result_in_words
from client.stack.lock import DataDirLock
from client.stack.plan import Plan, make_plan
from client.stack.up import Stack

#: One job may take this long, those before it included.
_PATIENCE_S = 600.0
#: Where the table goes to a file or a pipe.
_PLAIN_WIDTH = 220
#: From here on there is room for the models' names in every row.
_WIDE = 200


def run_demo(*, once: bool, port: int, profile: str | None, report: Path) -> int:
    """Run the stack and the demo's jobs on it; return the exit status, 0 when every job succeeded.

    Args:
        once: stop when all is printed; else stay up.
        port: of the service; another one where it is taken and `once`.
        profile: which models.
        report: the folder to write the report into.

    Raises:
        StackFailed: the stack cannot run here.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    with ExitStack() as stack:
        plan = _plan(stack, once=once, port=port, profile=profile)
        return Stack(plan, console).run(lambda url: _tour(url, console, report, stay=not once), stay=not once)


def _plan(stack: ExitStack, *, once: bool, port: int, profile: str | None) -> Plan:
    plan = make_plan(data_dir=None, host="127.0.0.1", port=port, workers=1, profile=profile)
    plan = replace(plan, data_dir=plan.data_dir / "demo", port_may_differ=once)
    if once:
        try:
            DataDirLock(plan.data_dir).close()
        except StackFailed:
            # Another demo stays up meanwhile.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="iconotext-demo-"))
            return replace(plan, data_dir=Path(folder))
    return plan


def _tour(url: str, console: Console, report: Path, *, stay: bool) -> int:
    with Client(url) as client:
        offered = {task.name for task in client.tasks() if task.available}
        everything = errands(Path(str(resources.files("client.demo"))) / "photos")
        todo = [errand for errand in everything if errand.task in offered]
        jobs = _work(client, todo, console)
        page = write_report(report, todo, jobs, client)
    console.print(table_of(todo, jobs, console.width))
    failed = [job for job in jobs if not job.succeeded]
    for job in failed:
        console.print(Text(f"{job.id} {job.status}: {job.error.message if job.error else ''}", style="red"))
    console.print(f"{len(jobs) - len(failed)} of {len(jobs)} jobs succeeded", highlight=False)
    if left := sorted({errand.task for errand in everything} - offered):
        console.print(f"this profile does not offer: {', '.join(left)}", highlight=False)
    console.print(f"every picture that was made: {page}", highlight=False, soft_wrap=True)
    if stay:
        console.print(f"the page is at [bold]{url}[/]; Ctrl-C stops it", highlight=False)
    return 1 if failed else 0


def _work(client: Client, todo: Sequence[Errand], console: Console) -> list[Job]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("jobs", total=len(todo))
        # All at once: what waits together is worked on together, in larger batches.
        ids = [_submitted(client, errand) for errand in todo]
        jobs = []
        for job_id in ids:
            jobs.append(client.watch(job_id, _PATIENCE_S))
            progress.advance(bar)
        return jobs


def _submitted(client: Client, errand: Errand) -> str:
    images = [errand.photo] if errand.photo else []
    videos = [errand.film] if errand.film else []
    return client.submit(errand.task, errand.fields, images=images, videos=videos).id


def table_of(todo: Sequence[Errand], jobs: Sequence[Job], width: int) -> RenderableType:
    """Return a row for each job; where there is no room for the models' names, letters and a legend."""
    letters: dict[str, str] = {}
    for job in jobs:
        for model in models_of(job):
            letters.setdefault(model, string.ascii_uppercase[len(letters) % 26])
    is_wide = width >= _WIDE
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    for name in ("about", "task"):
        table.add_column(name, no_wrap=True)
    table.add_column("result", ratio=1)
    table.add_column("models" if is_wide else "by", no_wrap=is_wide)
    for name in ("ms: queue/model/total", "batch"):
        table.add_column(name if is_wide else name.partition(":")[0], justify="right", no_wrap=True)
    for errand, job in zip(todo, jobs, strict=True):
        words = result_in_words(job, errand.texts) if job.succeeded else job.status
        if errand.question:
            words = f"“{errand.question}”: {words}"
        models = models_of(job)
        table.add_row(
            errand.subject,
            errand.task,
            Text(words, style="" if job.succeeded else "red"),
            Text(", ".join(models) if is_wide else "".join(letters[model] for model in models), style="dim"),
            "/".join(milliseconds(job, name) or "?" for name in ("queue", "model", "total")),
            str((job.batch or {}).get("size", "")),
        )
    legend = [Text(f"{letter}  {model}", style="dim") for model, letter in letters.items()]
    return table if is_wide else Group(table, Text("ms: queue/model/total", style="dim"), *legend)
