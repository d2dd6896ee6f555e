"""The `iconotext` command."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from client.each import find_pictures, submit_each
from client.errors import (
    IconotextError,
    JobFailed,
    RequestRefused,
    ServiceUnreachable,
    StackFailed,
    WaitTimeout,
)
from client.inputs import parse_settings
from client.manifest import ManifestOption, models_app
from client.models import Job, Options
from client.output import finish, finish_each, show, show_json
from client.overview import system_view
from client.progress import job_bar
from client.sdk import DEFAULT_URL, Client
from client.show import jobs_view, tasks_view
from client.submissions import Submission

_STATUS_OF: tuple[tuple[type[IconotextError], int], ...] = (
    (JobFailed, 1),
    (StackFailed, 1),
    (RequestRefused, 2),
    (ServiceUnreachable, 3),
    (WaitTimeout, 4),
)
_INTERRUPTED = 130
_MOST_WORKERS = 64

_EPILOG = (
    "Exit status: 0 done; 1 the job ended without success, or the stack could not run; "
    "2 wrong usage, or the service refused the request; 3 the service cannot be reached or cannot serve; "
    "4 the time to wait is over and the job goes on; 130 interrupted."
)


class Commands(TyperGroup):
    """The one place where errors become a line and an exit status."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer vendors click's Context
        try:
            return super().invoke(ctx)
        except IconotextError as error:
            _fail(error)
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None


def _fail(error: IconotextError) -> NoReturn:
    console = Console(stderr=True)
    if isinstance(error, StackFailed) and error.tail:
        console.print(Text(error.tail, style="dim"), soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), " ".join(str(error).split())), soft_wrap=True)
    raise typer.Exit(next(status for kind, status in _STATUS_OF if isinstance(error, kind)))


app = typer.Typer(
    name="iconotext",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=_EPILOG,
)
database_app = typer.Typer(no_args_is_help=True, help="The job database.")
app.add_typer(database_app, name="db")
app.add_typer(models_app, name="models")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
WaitTime = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", help="Wait no longer than this; default: until it ends."),
]
OutDir = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Save the job and its artifacts in this folder."),
]
ErrorOption = Annotated[
    str | None, typer.Option(metavar="CODE", help="Only jobs that failed so: attempts_exhausted.")
]
WorkersOption = Annotated[
    str, typer.Option(metavar="N", help="Worker processes; auto: one for each CUDA device, or else one.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        metavar="D", help="auto, cpu or cuda:N, for every worker; default: ICONOTEXT_DEVICE, or auto."
    ),
]
PoolsOption = Annotated[
    str | None,
    typer.Option(metavar="P,...", help="Whose jobs the workers take; default: ICONOTEXT_POOLS, or default."),
]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")]
ProfileOption = Annotated[
    str | None, typer.Option(help="Which models to load; default: ICONOTEXT_PROFILE, or starter.")
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where jobs and files live; default: ICONOTEXT_DATA_DIR.")
]


@dataclass(frozen=True, slots=True)
class _Connection:
    url: str
    key: str | None

    def client(self) -> Client:
        return Client(self.url, api_key=self.key)


@app.callback()
def _connect(
    ctx: typer.Context,
    url: Annotated[str, typer.Option(envvar="ICONOTEXT_URL", help="The service.")] = DEFAULT_URL,
    key: Annotated[
        str | None, typer.Option(envvar="ICONOTEXT_KEY", help="API key, where the service asks for one.")
    ] = None,
) -> None:
    """Durable jobs over images and texts."""
    ctx.obj = _Connection(url, key)


@app.command()
def submit(
    *,
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(help="What to do; see `iconotext tasks`.")],
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A picture: a path, or a stored file's id. Repeatable."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="A text. Repeatable.")] = None,
    video: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="A film: a path, or a stored file's id.")
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
        list[str] | None, typer.Option(metavar="K=V", help="Your own name for the job, to find it again.")
    ] = None,
    priority: Annotated[str | None, typer.Option(help="high, normal or low.")] = None,
    start_within: Annotated[
        float | None, typer.Option(metavar="S", help="Let the job expire when it has not begun by then.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(metavar="S", help="Let the job fail when it runs longer.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Let equal work that was done before answer at once.")
    ] = False,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Whom to tell when the job has ended.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="A job for each picture; FILE may be a folder or a pattern.")
    ] = False,
    wait_for_it: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    timeout: WaitTime = None,
    out: OutDir = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job, or one for each picture."""
    options = _options(label, priority, start_within, time_limit, cache=cache, webhook=webhook)
    images, texts = image or [], text or []
    with _client(ctx) as client:
        fields = parse_settings(client.task(task), settings or []) if settings else {}
        if each:
            images = find_pictures(images)
            todo = [Submission(task, fields, images=[one], texts=texts, options=options) for one in images]
            done = submit_each(client, images, todo, wait=wait_for_it or out is not None, timeout=timeout)
            finish_each(client, done, texts, out, as_json)
            return
        job = client.submit(task, fields, images=images, texts=texts, videos=video or [], options=options)
        if wait_for_it or out is not None:
            job = _wait(client, job.id, timeout)
        finish(client, job, out, as_json, names=(images, texts))
        if not (wait_for_it or out is not None or as_json):
            show(Text(f"wait for it: iconotext wait {job.id}", style="dim"))


@app.command()
def get(ctx: typer.Context, job_id: JobId, out: OutDir = None, as_json: AsJson = False) -> None:
    """Show a job as it stands."""
    with _client(ctx) as client:
        finish(client, client.get(job_id), out, as_json, checked=False)


@app.command()
def wait(
    ctx: typer.Context, job_id: JobId, timeout: WaitTime = None, out: OutDir = None, as_json: AsJson = False
) -> None:
    """Wait for a job and show its result."""
    with _client(ctx) as client:
        finish(client, _wait(client, job_id, timeout), out, as_json)


@app.command(name="list")
def list_jobs(
    *,
    ctx: typer.Context,
    status: Annotated[list[str] | None, typer.Option(help="Only these states. Repeatable.")] = None,
    error: ErrorOption = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Only with this label. Repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with _client(ctx) as client:
        found = client.list(
            status=status or (),
            error=error,
            task=task,
            labels=_pairs(label or []),
            page_size=min(limit, 100),
        )
        jobs = [job for job, _ in zip(found, range(limit), strict=False)]
    show_json([job.to_json() for job in jobs]) if as_json else show(jobs_view(jobs, datetime.now(UTC)))


@app.command()
def cancel(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job."""
    with _client(ctx) as client:
        finish(client, client.cancel(job_id), None, as_json, checked=False)


@app.command()
def retry(
    ctx: typer.Context,
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Jobs' ids.")] = None,
    error: ErrorOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --error retries them all.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run jobs again that failed, were canceled or expired: those named, or all with one error."""
    with _client(ctx) as client:
        jobs = [client.retry(job) for job in _to_retry(client, job_ids or [], error, yes=yes)]
    show_json([job.to_json() for job in jobs]) if as_json else show(jobs_view(jobs, datetime.now(UTC)))


@app.command()
def tasks(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List what the service can do."""
    with _client(ctx) as client:
        found = client.tasks()
    show_json([task.to_json() for task in found]) if as_json else show(tasks_view(found))


@app.command()
def system(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the workers, the models they hold, and what waits for them."""
    with _client(ctx) as client:
        found = client.system()
    show_json(found.to_json()) if as_json else show(system_view(found))


@app.command()
def up(
    *,
    workers: WorkersOption = "1",
    device: DeviceOption = None,
    pools: PoolsOption = None,
    profile: ProfileOption = None,
    manifest: ManifestOption = None,
    host: Annotated[str, typer.Option(help="Other than loopback needs keys.")] = "127.0.0.1",
    port: PortOption = 8000,
    data_dir: DataDirOption = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C.

    Queue, database, workers and API, with nothing to install beside. ICONOTEXT_REDIS_URL and
    ICONOTEXT_DATABASE_URL name servers of your own.
    """
    from client.stack.plan import make_plan  # noqa: PLC0415  # POSIX only, and only these two need it
    from client.stack.up import Stack  # noqa: PLC0415

    plan = make_plan(
        data_dir=data_dir,
        host=host,
        port=port,
        workers=_count(workers),
        profile=profile,
        manifest=manifest,
        device=device,
        pools=pools,
    )
    raise typer.Exit(Stack(plan, Console(stderr=True)).run())


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Print the results and stop.")] = False,
    port: PortOption = 8000,
    profile: ProfileOption = None,
    report: Annotated[
        Path, typer.Option(metavar="DIR", help="Where to write the page with every picture that was made.")
    ] = Path("iconotext-demo"),
) -> None:
    """Run the service, let it work on photos, texts and a film, and show the results."""
    from client.demo.tour import run_demo  # noqa: PLC0415

    raise typer.Exit(run_demo(once=once, port=port, profile=profile, report=report))


@database_app.command(name="upgrade")
def upgrade_database(as_json: AsJson = False) -> None:
    """Bring the configured database to the newest revision."""
    from client.database import upgrade  # noqa: PLC0415  # needs the service's packages

    done = upgrade()
    if as_json:
        show_json({"database": done.database, "from": done.before, "to": done.after})
    else:
        show(Text(str(done)))


def main() -> None:
    """Run the command; the process ends with its status."""
    app()


def _client(ctx: typer.Context) -> Client:
    connection: _Connection = ctx.obj
    return connection.client()


def _wait(client: Client, job_id: str, timeout: float | None) -> Job:
    with job_bar(Console(stderr=True)) as report:
        return client.watch(job_id, timeout, report)


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
            "labels": _pairs(labels) if labels else None,
            "cache": cache or None,
            "webhook": {"url": webhook} if webhook else None,
        }
    )


def _to_retry(client: Client, job_ids: list[str], error: str | None, *, yes: bool) -> list[Job]:
    if bool(job_ids) == bool(error):
        raise RequestRefused("name the jobs to retry, or an --error that they all have", code="usage")
    found = [client.get(job_id) for job_id in job_ids] if job_ids else list(client.list(error=error))
    if error and found and not yes:
        typer.confirm(f"retry {len(found)} jobs?", abort=True, err=True)
    return found


def _count(workers: str) -> int | None:
    """Return how many workers a word asks for; None for `auto`."""
    if workers == "auto":
        return None
    if not workers.isdecimal() or not 1 <= int(workers) <= _MOST_WORKERS:
        raise RequestRefused(f"--workers is auto or 1 to {_MOST_WORKERS}, not {workers!r}", code="usage")
    return int(workers)


def _pairs(words: list[str]) -> dict[str, str]:
    pairs = dict(word.partition("=")[::2] for word in words)
    if not all("=" in word for word in words) or "" in pairs:
        raise RequestRefused("--label takes key=value", code="usage")
    return pairs
