"""Jobs' progress, live: a table on a terminal, lines elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from client.errors import NotFound
from client.models import Job
from client.output import show
from client.sdk import Client
from client.show import status_text

#: Lines of a terminal that are not rows of jobs.
_MARGIN_LINES = 4
_BAR_CELLS = 24

#: How the jobs stand, by id; None: it is gone.
Stand = dict[str, Job | None]


#: What to do about how they stand, and of which there is news.
Report = Callable[[Stand, Sequence[str]], None]


def report_on(
    client: Client, ids: Sequence[str], timeout: float | None, *, as_json: bool, is_quiet: bool
) -> bool:
    """Show how jobs go on until all have ended, and return whether all succeeded.

    Raises:
        NotFound: one was not there to begin with.
        WaitTimeout: some go on.
    """
    if not ids and not (as_json or is_quiet):
        show(Text("nothing is under way", style="dim"))
    ids = list(dict.fromkeys(ids))
    stand: Stand = {}
    with _reporter(as_json=as_json, is_quiet=is_quiet) as report:
        for jobs in client.follow(ids, timeout):
            if not stand and None in jobs:
                raise NotFound(f"there is no job {ids[jobs.index(None)]!r}", code="not_found", status=404)
            news = [number for number, job in zip(ids, jobs, strict=True) if _differs(stand, number, job)]
            stand.update(zip(ids, jobs, strict=True))
            report(stand, news)
    return all(job is not None and job.succeeded for job in stand.values())


def _differs(stand: Stand, number: str, job: Job | None) -> bool:
    former = stand.get(number)
    if former is None or job is None:
        return number not in stand or former is not job
    return former.version != job.version


@contextmanager
def _reporter(*, as_json: bool, is_quiet: bool) -> Iterator[Report]:
    console = Console()
    if as_json:
        yield _print_json
    elif is_quiet:
        yield _print_nothing
    elif not console.is_terminal:
        yield _print_lines
    else:
        with Live(console=console, refresh_per_second=4) as live:
            yield partial(_draw, live)


def _draw(live: Live, stand: Stand, _news: Sequence[str]) -> None:
    live.update(stand_view(stand, live.console.height - _MARGIN_LINES))


def _print_nothing(_stand: Stand, _news: Sequence[str]) -> None:
    """Leave it to the exit status."""


def _print_json(stand: Stand, news: Sequence[str]) -> None:
    for number in news:
        job = stand[number]
        _print({"id": number, "gone": True} if job is None else job.to_json())


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _print_lines(stand: Stand, news: Sequence[str]) -> None:
    for number in news:
        job = stand[number]
        sys.stdout.write(f"{number} {'gone' if job is None else _in_words(job)}\n")
    sys.stdout.flush()


def _in_words(job: Job) -> str:
    return " ".join(filter(None, [job.task, job.status, _percent(job), doing(job)]))


def _percent(job: Job) -> str:
    return f"{job.progress.fraction:.0%}" if job.status == "running" else ""


def doing(job: Job) -> str:
    """Return what a job is at, what it waits for, or why it failed, in a few words."""
    if job.error is not None:
        return f"{job.error.message} ({job.error.code})"
    if job.status == "queued" and job.queue is not None and job.queue.position is not None:
        eta = "" if job.queue.eta_s is None else f", starts in about {job.queue.eta_s:.0f} s"
        return f"{job.queue.position} before it{eta}"
    return "" if job.is_terminal else job.progress.message or job.progress.stage


def stand_view(stand: Stand, most: int) -> RenderableType:
    """Return jobs as a table with bars, those that go on first.

    Args:
        most: rows; of what does not fit the number is told.
    """
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("id", "task", "status", "progress"):
        table.add_column(name, no_wrap=True)
    table.add_column("stage")
    rows = sorted(stand.items(), key=lambda item: item[1] is None or item[1].is_terminal)
    for number, job in rows[: max(1, most)]:
        if job is None:
            table.add_row(number, "", Text("gone", style="yellow"), "", "")
        else:
            table.add_row(number, job.task, status_text(job), _bar(job), Text(doing(job)))
    left = len(rows) - max(1, most)
    return Group(table, Text(f"and {left} more", style="dim")) if left > 0 else table


def _bar(job: Job) -> RenderableType:
    fraction = 1.0 if job.succeeded else job.progress.fraction
    return ProgressBar(total=1.0, completed=fraction, width=_BAR_CELLS)
