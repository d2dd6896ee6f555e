"""`iconotext keys` and `iconotext tenants`: who may call, and how much; on the database, not over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from client.errors import RequestRefused
from client.options import AsJson, Quiet
from client.output import show, show_json, show_names
from client.store import opened_store

if TYPE_CHECKING:
    from shared.jobs import TenantId
    from shared.keys import Key, Scope
    from shared.store import Quotas

keys_app = typer.Typer(
    no_args_is_help=True,
    help="API keys, kept in the database that ICONOTEXT_DATABASE_URL or ICONOTEXT_DATA_DIR names.",
    short_help="API keys, in the service's own database.",
)
tenants_app = typer.Typer(no_args_is_help=True, help="What each tenant may have.")

_SCOPES = "submit,read"
_DAY_S = 86_400

TenantOption = Annotated[str, typer.Option(metavar="T", help="Whose: a-z, 0-9, '.', '_', '-'.")]


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="For people: who will hold it.")],
    tenant: TenantOption = "default",
    scopes: Annotated[
        str, typer.Option(metavar="S,...", help="submit: send, cancel, delete; read: look; admin: metrics.")
    ] = _SCOPES,
    days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="Good for so long; default: until revoked.")
    ] = None,
    *,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the key and nothing else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from shared.keys import new_key  # noqa: PLC0415  # the client alone has no service

    with opened_store() as store:
        made = new_key()
        lives = None if days is None else timedelta(seconds=days * _DAY_S)
        key = store.add_key(made, _tenant(tenant), name=name[:200], scopes=_scopes(scopes), lives=lives)
    if as_json:
        show_json(_as_json(key) | {"key": made.token})
        return
    typer.echo(made.token)
    if not quiet:
        note = f"for tenant {key.tenant}, {', '.join(key.scopes)}; keep it now, it is not shown again"
        typer.secho(note, dim=True, err=True)


@keys_app.command(name="list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(metavar="T", help="Only of this tenant.")] = None,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List all keys, without what makes them keys."""
    with opened_store() as store:
        found = store.keys(None if tenant is None else _tenant(tenant))
    if as_json:
        show_json([_as_json(key) for key in found])
    elif quiet:
        show_names(key.id for key in found)
    else:
        show(_keys_view(found))


@keys_app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, as `keys list` shows it, or all of it.")],
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a key good for nothing, within a second, for good."""
    from shared.keys import KeyId, id_in  # noqa: PLC0415  # the client alone has no service

    with opened_store() as store:
        gone = store.revoke_key(id_in(key) or KeyId(key.removeprefix("ik_")))
    if as_json:
        show_json(_as_json(gone))
    elif not quiet:
        show(Text(f"{gone.id} ({gone.name}) is revoked"))


@tenants_app.command(name="set")
def set_quotas(
    tenant: Annotated[str, typer.Argument(help="Whose.")],
    *,
    requests_per_minute: Annotated[int | None, typer.Option(min=0)] = None,
    jobs_per_minute: Annotated[int | None, typer.Option(min=0)] = None,
    queued_jobs: Annotated[int | None, typer.Option(min=1, help="That may wait to be started.")] = None,
    stored_bytes: Annotated[
        int | None, typer.Option(min=0, help="Of its uploads and of what its jobs made.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Set what a tenant may have; what is left out is what the service allows everybody, 0 is no limit."""
    from shared.store import Quotas  # noqa: PLC0415  # the client alone has no service

    quotas = Quotas(
        requests_per_minute=requests_per_minute,
        jobs_per_minute=jobs_per_minute,
        queued_jobs=queued_jobs,
        stored_bytes=stored_bytes,
    )
    with opened_store() as store:
        store.set_quotas(_tenant(tenant), quotas)
    if as_json or not quiet:
        _show_quotas({tenant: quotas}, as_json=as_json, is_quiet=False)


@tenants_app.command(name="list")
def list_quotas(*, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """List the tenants that have quotas of their own."""
    with opened_store() as store:
        found = store.all_quotas()
    _show_quotas({str(tenant): quotas for tenant, quotas in found.items()}, as_json=as_json, is_quiet=quiet)


def _keys_view(found: Sequence[Key]) -> Table:
    table = Table(box=None, header_style="dim")
    # Ids are never cut, they are there to be copied.
    table.add_column("key", no_wrap=True)
    for title in ("tenant", "name", "scopes", "made", "expires", "state"):
        table.add_column(title)
    for key in found:
        table.add_row(
            key.id, key.tenant, Text(key.name), ",".join(key.scopes), _day(key.created_at),
            _day(key.expires_at), _state(key),
        )  # fmt: skip
    return table


def _show_quotas(found: dict[str, Quotas], *, as_json: bool, is_quiet: bool) -> None:
    names = ("requests_per_minute", "jobs_per_minute", "queued_jobs", "stored_bytes")
    rows = {tenant: {name: getattr(quotas, name) for name in names} for tenant, quotas in found.items()}
    if as_json:
        show_json([{"tenant": tenant, **row} for tenant, row in rows.items()])
        return
    if is_quiet:
        show_names(rows)
        return
    table = Table(box=None, header_style="dim")
    for title in ("tenant", *(name.replace("_", " ") for name in names)):
        table.add_column(title)
    for tenant, row in rows.items():
        table.add_row(tenant, *("" if amount is None else f"{amount:,}" for amount in row.values()))
    show(table)


def _tenant(name: str) -> TenantId:
    from shared.keys import tenant_named  # noqa: PLC0415  # the client alone has no service

    try:
        return tenant_named(name)
    except ValueError as error:
        raise RequestRefused(str(error), code="usage") from error


def _scopes(words: str) -> list[Scope]:
    from shared.keys import Scope  # noqa: PLC0415  # the client alone has no service

    wanted = [word.strip() for word in words.split(",") if word.strip()]
    strays = [word for word in wanted if word not in set(Scope)]
    if strays or not wanted:
        wrong = ", ".join(strays) or "none"
        raise RequestRefused(f"--scopes takes {', '.join(Scope)}, with commas; not {wrong}", code="usage")
    return [Scope(word) for word in wanted]


def _as_json(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
        "state": _state(key),
    }


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "good" if key.is_good else "expired"


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d}"
