"""The `iconotext` command: its commands, put together."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from client import changing, looking, running
from client.errors import (
    IconotextError,
    JobFailed,
    RequestRefused,
    ServiceUnreachable,
    StackFailed,
    WaitTimeout,
)
from client.hooks import webhooks_app
from client.keys import keys_app, tenants_app
from client.manifest import models_app
from client.options import Connection
from client.output import show_error
from client.sdk import DEFAULT_URL
from client.submitting import submit

_STATUS_OF: tuple[tuple[type[IconotextError], int], ...] = (
    (JobFailed, 1),
    (StackFailed, 1),
    (RequestRefused, 2),
    (ServiceUnreachable, 3),
    (WaitTimeout, 4),
)
_INTERRUPTED = 130

_EPILOG = (
    "Exit status: 0 done; 1 the job ended without success, or the stack could not run; "
    "2 wrong usage, or the service refused the request, as it does without a good key; "
    "3 the service cannot be reached or cannot serve; "
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
    if isinstance(error, StackFailed) and error.tail:
        Console(stderr=True).print(Text(error.tail, style="dim"), soft_wrap=True)
    show_error(str(error))
    raise typer.Exit(next(status for kind, status in _STATUS_OF if isinstance(error, kind)))


app = typer.Typer(
    name="iconotext",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=_EPILOG,
)
app.command()(submit)
app.command()(looking.get)
app.command()(looking.wait)
app.command()(looking.watch)
app.command(name="list")(looking.list_jobs)
app.command()(changing.cancel)
app.command()(changing.retry)
app.command()(changing.delete)
app.command()(looking.tasks)
app.command()(looking.system)
app.add_typer(webhooks_app, name="webhooks")
app.add_typer(keys_app, name="keys")
app.add_typer(tenants_app, name="tenants")
app.add_typer(models_app, name="models")
app.command()(running.up)
app.command()(running.demo)
app.add_typer(running.database_app, name="db")


@app.callback()
def _connect(
    ctx: typer.Context,
    url: Annotated[str, typer.Option("--url", envvar="ICONOTEXT_URL", help="The service.")] = DEFAULT_URL,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="ICONOTEXT_KEY", help="API key, where the service asks for one."),
    ] = None,
) -> None:
    """Durable jobs over images and texts."""
    ctx.obj = Connection(url, key)


def main() -> None:
    """Run the command; the process ends with its status."""
    app()
