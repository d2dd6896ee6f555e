"""`iconotext webhooks`: whom the service tells of the ends of all your jobs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from client.errors import RequestRefused
from client.models import Delivery, WebhookEndpoint
from client.options import AsJson, Quiet, connected
from client.output import show, show_json, show_names

webhooks_app = typer.Typer(
    no_args_is_help=True,
    help="Whom the service tells of the ends of all your jobs (Standard Webhooks).",
    short_help="Whom the service tells of your jobs' ends.",
)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="A webhook's id, wh_...")]
EventOption = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="E", help="Tell of job.failed, job.succeeded, ... Repeatable."),
]
DescriptionOption = Annotated[
    str | None, typer.Option("--description", help="For people: what is behind it.")
]


@webhooks_app.command(name="list")
def list_webhooks(ctx: typer.Context, *, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """List the webhooks, without their secrets."""
    with connected(ctx) as client:
        _show_all(client.webhooks.list(), as_json=as_json, is_quiet=quiet)


@webhooks_app.command()
def create(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(help="Where to post to.")],
    event: EventOption = None,
    description: DescriptionOption = None,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a webhook and print it with its secret; without --event it is told of every end."""
    with connected(ctx) as client:
        made = client.webhooks.create(url, events=event, description=description)
    if quiet and not as_json:
        show_names([made.id])
    else:
        _show_one(made, as_json=as_json)


@webhooks_app.command()
def get(ctx: typer.Context, webhook_id: WebhookId, *, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Show a webhook as it stands."""
    with connected(ctx) as client:
        found = client.webhooks.get(webhook_id)
    if as_json or not quiet:
        _show_one(found, as_json=as_json)


@webhooks_app.command()
def update(
    *,
    ctx: typer.Context,
    webhook_id: WebhookId,
    url: Annotated[str | None, typer.Option("--url", help="Post to this from now on.")] = None,
    event: EventOption = None,
    description: DescriptionOption = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Tell it again, or nothing more.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Change a webhook."""
    if url is None and event is None and description is None and enabled is None:
        raise RequestRefused(
            "say what to change: --url, --event, --description, --enable or --disable", code="usage"
        )
    with connected(ctx) as client:
        found = client.webhooks.update(
            webhook_id, url=url, events=event, description=description, enabled=enabled
        )
    if as_json or not quiet:
        _show_one(found, as_json=as_json)


@webhooks_app.command()
def delete(
    ctx: typer.Context, webhook_id: WebhookId, *, quiet: Quiet = False, as_json: AsJson = False
) -> None:
    """Delete a webhook; it is told nothing more."""
    with connected(ctx) as client:
        client.webhooks.delete(webhook_id)
    if as_json:
        show_json({"deleted": [webhook_id]})
    elif not quiet:
        show(Text(f"deleted {webhook_id}"))


@webhooks_app.command()
def secret(
    ctx: typer.Context,
    webhook_id: Annotated[
        str | None, typer.Argument(metavar="[WEBHOOK]", help="Default: of the webhooks that jobs name.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print a webhook's secret, by which its receiver verifies messages."""
    with connected(ctx) as client:
        _show_secret(client.webhooks.secret(webhook_id), as_json=as_json)


@webhooks_app.command()
def rotate(ctx: typer.Context, webhook_id: WebhookId, *, as_json: AsJson = False) -> None:
    """Change a webhook's secret and print the new one; the old one is good for a day."""
    with connected(ctx) as client:
        found = client.webhooks.rotate(webhook_id)
    if as_json:
        show_json(found.to_json())
    else:
        _show_secret(found.secret or "", as_json=False)


@webhooks_app.command(name="test")
def send_test(
    ctx: typer.Context, webhook_id: WebhookId, *, quiet: Quiet = False, as_json: AsJson = False
) -> None:
    """Have a test message sent."""
    with connected(ctx) as client:
        sent = client.webhooks.test(webhook_id)
    _show_delivery(sent, as_json=as_json, is_quiet=quiet)


@webhooks_app.command()
def deliveries(
    ctx: typer.Context,
    webhook_id: WebhookId,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = 20,
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List what was sent and how that went, newest first."""
    with connected(ctx) as client:
        found = client.webhooks.deliveries(webhook_id, page_size=min(limit, 100))
        _show_deliveries(list(islice(found, limit)), as_json=as_json, is_quiet=quiet)


@webhooks_app.command()
def redeliver(
    ctx: typer.Context,
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="A delivery's id.")],
    *,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Have a message sent again."""
    with connected(ctx) as client:
        found = client.webhooks.redeliver(webhook_id, delivery_id)
    if as_json or not quiet:
        _show_delivery(found, as_json=as_json, is_quiet=False)


def _show_one(webhook: WebhookEndpoint, *, as_json: bool) -> None:
    if as_json:
        show_json(webhook.to_json())
        return
    _show_all([webhook], as_json=False, is_quiet=False)
    if webhook.secret:
        show(Text(f"secret: {webhook.secret}"))


def _show_all(found: Sequence[WebhookEndpoint], *, as_json: bool, is_quiet: bool) -> None:
    if as_json:
        show_json([webhook.to_json() for webhook in found])
        return
    if is_quiet:
        show_names(webhook.id for webhook in found)
        return
    table = _table("webhook", "url", "events", "state")
    for webhook in found:
        state = "enabled" if webhook.enabled else f"disabled: {webhook.disabled_because or 'by its owner'}"
        style = "" if webhook.enabled else "yellow"
        table.add_row(webhook.id, Text(webhook.url), ", ".join(webhook.events), Text(state, style=style))
    show(table)


def _show_secret(value: str, *, as_json: bool) -> None:
    show_json({"secret": value}) if as_json else show_names([value])


def _show_delivery(delivery: Delivery, *, as_json: bool, is_quiet: bool) -> None:
    if as_json:
        show_json(delivery.to_json())
    else:
        _show_deliveries([delivery], as_json=False, is_quiet=is_quiet)


def _show_deliveries(found: Sequence[Delivery], *, as_json: bool, is_quiet: bool) -> None:
    if as_json:
        show_json([delivery.to_json() for delivery in found])
        return
    if is_quiet:
        show_names(delivery.id for delivery in found)
        return
    table = _table("delivery", "event", "state", "tries", "last answer")
    for delivery in found:
        last = delivery.tries[-1] if delivery.tries else None
        answer = "" if last is None else str(last.error or last.status or "")
        table.add_row(delivery.id, delivery.event, delivery.status, str(len(delivery.tries)), Text(answer))
    show(table)


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    # Ids are never cut, they are there to be copied.
    table.add_column(headings[0], no_wrap=True)
    for name in headings[1:]:
        table.add_column(name, overflow="fold")
    return table
