"""`iconotext models`: the models of a profile, and whether their files are on this machine.

The worker's packages know; they run in a process of their own, as everything of the service does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from client.errors import StackFailed
from client.options import AsJson, Quiet
from client.output import show, show_json, show_names
from client.overview import size

models_app = typer.Typer(no_args_is_help=True, help="The models of a profile, on this machine.")

#: Packages that come with the worker, and not with the client alone.
_WORKER = ("worker", "pydantic_settings", "structlog", "numpy", "safetensors")
#: The hub names commits by 40 digits; so many tell them apart.
_SHORT = 12
_STYLES = {"ready": "green", "missing": "yellow", "wrong": "red"}

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="P", help="Which models; default: ICONOTEXT_PROFILE, or starter."),
]
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        "--manifest", metavar="FILE", help="A manifest of your own, TOML; default: ICONOTEXT_MANIFEST."
    ),
]


@models_app.command(name="list")
def list_models(
    profile: ProfileOption = None,
    manifest: ManifestOption = None,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List the models, their sources and licences, and whether they are here."""
    _report("list", profile, manifest, as_json=as_json, is_quiet=quiet)


@models_app.command()
def check(
    profile: ProfileOption = None,
    manifest: ManifestOption = None,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Read every file whose sha256 the manifest names; exit status 1 where one is missing or wrong."""
    _report("check", profile, manifest, as_json=as_json, is_quiet=quiet)


@models_app.command()
def pull(
    profile: ProfileOption = None,
    manifest: ManifestOption = None,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Download from the Hugging Face hub what is missing, then check; exit status 1 where that fails."""
    _report("pull", profile, manifest, as_json=as_json, is_quiet=quiet)


def _report(
    action: str, profile: str | None, manifest: Path | None, *, as_json: bool, is_quiet: bool
) -> None:
    status, report = ask(action, profile, manifest)
    if as_json:
        show_json(report)
    elif is_quiet:
        show_names(model["id"] for model in report["models"])
    else:
        show(models_view(report))
    if status:
        raise typer.Exit(status)


def ask(action: str, profile: str | None, manifest: Path | None) -> tuple[int, dict[str, Any]]:
    """Return the worker's exit status, 0 or 1, and its report; what it logs goes to stderr as it comes.

    Raises:
        StackFailed: the worker is not installed here, or the manifest or a setting cannot be used.
    """
    lacking = [name for name in _WORKER if find_spec(name) is None]
    if lacking:
        raise StackFailed(
            f"the worker is not installed here (no {', '.join(lacking)}); pip install 'iconotext[worker]'"
        )
    words = ["--profile", profile] if profile is not None else []
    words += ["--manifest", str(manifest)] if manifest is not None else []
    command = [sys.executable, "-m", "worker.models", action, *words]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode not in (0, 1) or not finished.stdout:
        raise StackFailed("nothing can be told of these models; the line above says why")
    report: dict[str, Any] = json.loads(finished.stdout)
    return finished.returncode, report


def models_view(report: dict[str, Any]) -> RenderableType:
    """Return the models as a table, two lines a model, and under it why some are not ready."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("capability", "model", "source", "licence", "runs"):
        table.add_column(heading, overflow="fold")
    reasons = []
    for model in report["models"]:
        style = _STYLES.get(str(model["state"]), "")
        memory = size(model["memory_bytes"])
        table.add_row(
            _stacked(model["capability"], Text(str(model["state"]), style=style)),
            _stacked(model["id"], Text(str(model["architecture"]), style="dim")),
            _stacked(model["source"] or "no weights", Text(_short(str(model["revision"])), style="dim")),
            _stacked(model["licence"], Text(str(model["grade"]), style="dim")),
            _stacked(
                " ".join(filter(None, (model["dtype"], memory))) or "-", Text(model["pool"], style="dim")
            ),
        )
        if model["reason"]:
            reasons.append(Text(f"{model['capability']}: {model['reason']}", style=style))
    return Group(Text(f"{report['profile']}: {report['summary']}", style="dim"), table, *reasons)


def _stacked(first: str, second: Text) -> Text:
    return Text("\n").join([Text(first), second])


def _short(revision: str) -> str:
    """Return a revision short enough for a table; those of what a model is built over likewise."""
    return " + ".join(part.removeprefix("sha256:")[:_SHORT] for part in revision.split(" + "))
