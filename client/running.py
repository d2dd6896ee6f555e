"""`iconotext up`, `demo` and `db upgrade`: what runs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from client.errors import RequestRefused
from client.manifest import ManifestOption
from client.options import AsJson, Quiet
from client.output import show, show_json

_MOST_WORKERS = 64

WorkersOption = Annotated[
    str,
    typer.Option(
        "--workers", metavar="N", help="Worker processes; auto: one for each CUDA device, or else one."
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="D",
        help="auto, cpu or cuda:N, for every worker; default: ICONOTEXT_DEVICE, or auto.",
    ),
]
PoolsOption = Annotated[
    str | None,
    typer.Option(
        "--pools",
        metavar="P,...",
        help="Whose jobs the workers take; default: ICONOTEXT_POOLS, or default.",
    ),
]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="Which models to load; default: ICONOTEXT_PROFILE, or starter."),
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where jobs and files live; default: ICONOTEXT_DATA_DIR.")
]

database_app = typer.Typer(no_args_is_help=True, help="The job database.")


def up(
    *,
    workers: WorkersOption = "1",
    device: DeviceOption = None,
    pools: PoolsOption = None,
    profile: ProfileOption = None,
    manifest: ManifestOption = None,
    host: Annotated[str, typer.Option("--host", help="Other than loopback needs keys.")] = "127.0.0.1",
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


def demo(
    once: Annotated[bool, typer.Option("--once", help="Print the results and stop.")] = False,
    port: PortOption = 8000,
    profile: ProfileOption = None,
    report: Annotated[
        Path,
        typer.Option(
            "--report", metavar="DIR", help="Where to write the page with every picture that was made."
        ),
    ] = Path("iconotext-demo"),
) -> None:
    """Run the service on photos, texts and a film, and show the results."""
    from client.demo.tour import run_demo  # noqa: PLC0415

    raise typer.Exit(run_demo(once=once, port=port, profile=profile, report=report))


@database_app.command(name="upgrade")
def upgrade_database(*, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Bring the configured database to the newest revision."""
    from client.database import upgrade  # noqa: PLC0415  # needs the service's packages

    done = upgrade()
    if as_json:
        show_json({"database": done.database, "from": done.before, "to": done.after})
    elif not quiet:
        show(Text(str(done)))


def _count(workers: str) -> int | None:
    """Return how many workers a word asks for; None for `auto`."""
    if workers == "auto":
        return None
    if not workers.isdecimal() or not 1 <= int(workers) <= _MOST_WORKERS:
        raise RequestRefused(f"--workers is auto or 1 to {_MOST_WORKERS}, not {workers!r}", code="usage")
    return int(workers)
