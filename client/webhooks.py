"""Webhooks that a tenant keeps: whom the service tells of the ends of all its jobs.

A receiver verifies what it is sent with the `standardwebhooks` package, or any other that speaks Standard
Webhooks; this client has no part in that:

    Webhook(secret).verify(body, headers)
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any
from urllib.parse import quote

from client.answers import Answer, answered
from client.driving import AsyncDriver, Driver
from client.flows import Emit, Flow, Stream
from client.models import Delivery, DeliveryPage, Value, WebhookEndpoint
from client.submissions import JSON
from client.transport import Transport

_HOOKS = "/v1/webhooks"


class _Hooks(Value):
    webhooks: tuple[WebhookEndpoint, ...]


class _Secret(Value):
    secret: str


class WebhookCalls:
    """What can be asked about webhooks, whoever drives it; `Webhooks` says what each promises."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, **fields: Any) -> Flow[WebhookEndpoint]:
        return self._send(WebhookEndpoint, "POST", _HOOKS, fields)

    def list(self) -> Flow[Sequence[WebhookEndpoint]]:
        return (yield from answered(_Hooks, self._transport.request("GET", _HOOKS))).webhooks

    def get(self, webhook_id: str) -> Flow[WebhookEndpoint]:
        return answered(WebhookEndpoint, self._transport.request("GET", _path(webhook_id)))

    def update(self, webhook_id: str, **fields: Any) -> Flow[WebhookEndpoint]:
        # The same change twice is the same change.
        return self._send(WebhookEndpoint, "PATCH", _path(webhook_id), fields, repeatable=True)

    def delete(self, webhook_id: str) -> Flow[None]:
        return self._transport.delete(_path(webhook_id))

    def secret(self, webhook_id: str | None) -> Flow[str]:
        path = f"{_HOOKS}:secret" if webhook_id is None else f"{_path(webhook_id)}/secret"
        return (yield from answered(_Secret, self._transport.request("GET", path))).secret

    def rotate(self, webhook_id: str) -> Flow[WebhookEndpoint]:
        return answered(WebhookEndpoint, self._transport.request("POST", f"{_path(webhook_id)}/rotate"))

    def test(self, webhook_id: str) -> Flow[Delivery]:
        return answered(Delivery, self._transport.request("POST", f"{_path(webhook_id)}/test"))

    def deliveries(self, webhook_id: str, page_size: int | None) -> Stream[Delivery]:
        path, token = f"{_path(webhook_id)}/deliveries", None
        while True:
            given = {"page_size": str(page_size) if page_size else None, "page_token": token}
            params = [(name, value) for name, value in given.items() if value]
            page = yield from answered(DeliveryPage, self._transport.request("GET", path, params=params))
            for delivery in page.deliveries:
                yield Emit(delivery)
            token = page.next_page_token
            if not token:
                return

    def redeliver(self, webhook_id: str, delivery: Delivery | str) -> Flow[Delivery]:
        number = quote(delivery if isinstance(delivery, str) else delivery.id, safe="")
        path = f"{_path(webhook_id)}/deliveries/{number}/redeliver"
        return answered(Delivery, self._transport.request("POST", path))

    def _send(
        self, kind: type[Answer], method: str, path: str, fields: dict[str, Any], *, repeatable: bool = False
    ) -> Flow[Answer]:
        given = {name: value for name, value in fields.items() if value is not None}
        body = json.dumps(given).encode(), JSON
        return answered(kind, self._transport.request(method, path, body=body, repeatable=repeatable))


class Webhooks:
    """The webhooks of a tenant, `client.webhooks`."""

    def __init__(self, calls: WebhookCalls, driver: Driver) -> None:
        self._calls = calls
        self._driver = driver

    def create(
        self, url: str, *, events: Sequence[str] | None = None, description: str | None = None
    ) -> WebhookEndpoint:
        """Return the new webhook with its `secret`, by which the receiver verifies messages.

        Args:
            events: those to tell of, `job.failed`; None: all.
        """
        return self._driver.run(self._calls.create(url=url, events=events, description=description))

    def list(self) -> Sequence[WebhookEndpoint]:
        """Return all webhooks, without their secrets."""
        return self._driver.run(self._calls.list())

    def get(self, webhook_id: str) -> WebhookEndpoint:
        """Return the webhook as it stands, without its secret."""
        return self._driver.run(self._calls.get(webhook_id))

    def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> WebhookEndpoint:
        """Change what is given, and return the webhook as it stands then."""
        flow = self._calls.update(
            webhook_id, url=url, events=events, description=description, enabled=enabled
        )
        return self._driver.run(flow)

    def delete(self, webhook_id: str) -> None:
        """Forget the webhook; it is told nothing more."""
        self._driver.run(self._calls.delete(webhook_id))

    def secret(self, webhook_id: str | None = None) -> str:
        """Return the secret of a webhook; None: the tenant's, for the webhooks that jobs name themselves."""
        return self._driver.run(self._calls.secret(webhook_id))

    def rotate(self, webhook_id: str) -> WebhookEndpoint:
        """Return the webhook with a new secret; for a day messages carry the old one's signature too."""
        return self._driver.run(self._calls.rotate(webhook_id))

    def test(self, webhook_id: str) -> Delivery:
        """Have a `webhook.test` event sent, and return its delivery."""
        return self._driver.run(self._calls.test(webhook_id))

    def deliveries(self, webhook_id: str, *, page_size: int | None = None) -> Generator[Delivery, None, None]:
        """Yield what was sent and how that went, newest first, page after page as asked for."""
        return self._driver.iterate(self._calls.deliveries(webhook_id, page_size))

    def redeliver(self, webhook_id: str, delivery: Delivery | str) -> Delivery:
        """Have a message sent again, and return its delivery as it then waits."""
        return self._driver.run(self._calls.redeliver(webhook_id, delivery))


class AsyncWebhooks:
    """`Webhooks`, awaited."""

    def __init__(self, calls: WebhookCalls, driver: AsyncDriver) -> None:
        self._calls = calls
        self._driver = driver

    async def create(
        self, url: str, *, events: Sequence[str] | None = None, description: str | None = None
    ) -> WebhookEndpoint:
        """As `Webhooks.create`."""
        return await self._driver.run(self._calls.create(url=url, events=events, description=description))

    async def list(self) -> Sequence[WebhookEndpoint]:
        """As `Webhooks.list`."""
        return await self._driver.run(self._calls.list())

    async def get(self, webhook_id: str) -> WebhookEndpoint:
        """As `Webhooks.get`."""
        return await self._driver.run(self._calls.get(webhook_id))

    async def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> WebhookEndpoint:
        """As `Webhooks.update`."""
        flow = self._calls.update(
            webhook_id, url=url, events=events, description=description, enabled=enabled
        )
        return await self._driver.run(flow)

    async def delete(self, webhook_id: str) -> None:
        """As `Webhooks.delete`."""
        await self._driver.run(self._calls.delete(webhook_id))

    async def secret(self, webhook_id: str | None = None) -> str:
        """As `Webhooks.secret`."""
        return await self._driver.run(self._calls.secret(webhook_id))

    async def rotate(self, webhook_id: str) -> WebhookEndpoint:
        """As `Webhooks.rotate`."""
        return await self._driver.run(self._calls.rotate(webhook_id))

    async def test(self, webhook_id: str) -> Delivery:
        """As `Webhooks.test`."""
        return await self._driver.run(self._calls.test(webhook_id))

    def deliveries(self, webhook_id: str, *, page_size: int | None = None) -> AsyncGenerator[Delivery, None]:
        """As `Webhooks.deliveries`."""
        return self._driver.iterate(self._calls.deliveries(webhook_id, page_size))

    async def redeliver(self, webhook_id: str, delivery: Delivery | str) -> Delivery:
        """As `Webhooks.redeliver`."""
        return await self._driver.run(self._calls.redeliver(webhook_id, delivery))


def _path(webhook_id: str) -> str:
    return f"{_HOOKS}/{quote(webhook_id, safe='')}"
