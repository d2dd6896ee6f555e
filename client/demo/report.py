"""The demo's report: a page that shows every job with its picture and every picture that was made."""

from __future__ import annotations

import io
import mimetypes
import shutil
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from rich.console import Console, RenderableType

from client import results
from client.demo.errands import Errand
from client.models import Artifact, Job
from client.sdk import Client
from client.show import milliseconds, models_of

_COLUMNS = 100
_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent) }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem }
article { border-bottom: 1px solid var(--line); display: grid; gap: 1rem; grid-template-columns: 15rem 1fr;
  margin: 1.5rem 0; padding-bottom: 1.5rem }
article > div { min-width: 0 }
img, video { border-radius: 6px; max-width: 100%; max-height: 30rem }
figure { display: inline-block; margin: 0 .75rem .75rem 0; vertical-align: top; max-width: 30rem }
figcaption, .by { font-size: 12px; opacity: .7 }
pre { font: 13px/1.4 ui-monospace, monospace; overflow-x: auto; margin: .5rem 0 }
.question { font-weight: 600 }
.failed { color: #c0392b }
"""


def write_report(folder: Path, todo: Sequence[Errand], jobs: Sequence[Job], client: Client) -> Path:
    """Write `index.html` with the pictures and films beside it, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = list(zip(todo, jobs, strict=True))
    sections = [
        f"<h2>{escape(task)}</h2>" + "".join(_article(folder, errand, job, client) for errand, job in group)
        for task, group in groupby(pairs, key=lambda pair: pair[0].task)
    ]
    succeeded = sum(job.succeeded for job in jobs)
    page = folder / "index.html"
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Iconotext: the demo</title>'
        f"<style>{_STYLE}</style><h1>Iconotext: the demo</h1>"
        f"<p>{succeeded} of {len(jobs)} jobs succeeded.</p>{''.join(sections)}</html>\n",
        encoding="utf-8",
    )
    return page


def _article(folder: Path, errand: Errand, job: Job, client: Client) -> str:
    made = "".join(
        _figure(_saved(folder, job, artifact, client), artifact.name) for artifact in job.artifacts
    )
    by = f"{', '.join(models_of(job))}; {milliseconds(job, 'total')} ms"
    question = f'<p class="question">{escape(errand.question)}</p>' if errand.question else ""
    return (
        f"<article><div>{_subject(folder, errand)}</div>"
        f'<div>{question}{_outcome(errand, job)}{made}<p class="by">{escape(by)}</p></div></article>'
    )


def _subject(folder: Path, errand: Errand) -> str:
    file = errand.photo or errand.film
    if file is None:
        return ""
    shutil.copyfile(file, folder / file.name)
    if errand.film:
        return f'<video controls muted src="{escape(file.name)}"></video>'
    return _figure(file.name, file.name)


def _outcome(errand: Errand, job: Job) -> str:
    if job.error is not None:
        return f'<p class="failed">{escape(job.error.message)} ({escape(job.error.code)})</p>'
    if job.result is None:
        return f'<p class="failed">{escape(job.status)}</p>'
    return _as_html(results.result_view(job.result, [errand.subject], errand.texts))


def _as_html(view: RenderableType) -> str:
    console = Console(record=True, file=io.StringIO(), width=_COLUMNS)
    console.print(view, highlight=False)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def _saved(folder: Path, job: Job, artifact: Artifact, client: Client) -> str:
    extension = mimetypes.guess_extension(artifact.media_type) or ""
    name = f"{job.id}-{Path(artifact.name).name}{extension}"
    (folder / name).write_bytes(client.download(artifact.href))
    return name


def _figure(file: str, words: str) -> str:
    return (
        f'<figure><img loading="lazy" src="{escape(file)}" alt="{escape(words)}">'
        f"<figcaption>{escape(words)}</figcaption></figure>"
    )
