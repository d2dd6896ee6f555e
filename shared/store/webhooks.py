"""Endpoints: where a tenant is told of its jobs' ends, whatever the jobs say."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType

from sqlalchemy import Connection, delete, func, insert, literal_column, null, select, update

from shared.database import now
from shared.errors import InvalidRequest, NotFound
from shared.jobs import TenantId
from shared.store.deliveries import DeliveryLog, DeliveryState, MessageId, log_of
from shared.store.edge import Edge
from shared.store.messages import BOOK, new_message
from shared.store.rows import Row, loaded, moment
from shared.tables import deliveries, webhooks

WebhookId = NewType("WebhookId", str)

#: Of one tenant: each is told of each end, in the transaction that ends a job.
MOST_WEBHOOKS = 20
#: The most messages on one page, whatever is asked for.
_LARGEST_PAGE = 200
_TEST = "webhook.test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One of a tenant's. Times are aware, UTC."""

    id: WebhookId
    tenant: TenantId
    url: str
    #: Names of events: `job.succeeded`.
    events: Sequence[str]
    description: str
    enabled: bool
    #: In words; None while enabled.
    disabled_because: str | None
    #: The number of its present secret (`shared.signing`).
    rotation: int
    rotated_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What to change of an endpoint; None: nothing."""

    url: str | None = None
    events: Sequence[str] | None = None
    description: str | None = None
    enabled: bool | None = None


class Webhooks(Edge):
    """A foreign endpoint is an unknown one. What is booked for one goes to the URL that it has by then."""

    def add_webhook(self, tenant: TenantId, url: str, events: Sequence[str], description: str) -> Endpoint:
        """Store a new endpoint, enabled.

        Raises:
            InvalidRequest: the tenant has as many as it may.
        """
        values = {
            "id": f"wh_{os.urandom(16).hex()}",
            "tenant": tenant,
            "url": url,
            "events": list(events),
            "description": description,
            "enabled": True,
            "rotation": 1,
        }
        with self._database.begin() as connection:
            if self._database.dialect == "postgresql":
                # Of two that count at once each would find room; SQLite's writers take turns anyway.
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(tenant, 0))))
            count = select(func.count()).select_from(webhooks).where(webhooks.c.tenant == tenant)
            if connection.execute(count).scalar_one() >= MOST_WEBHOOKS:
                raise InvalidRequest(
                    f"you have {MOST_WEBHOOKS} webhooks, and that is the most; delete one, or change one",
                    pointer="",
                )
            made = insert(webhooks).values(**values, created_at=now()).returning(*webhooks.c)
            return _endpoint_of(connection.execute(made).mappings().one())

    def webhooks(self, tenant: TenantId) -> list[Endpoint]:
        """Return a tenant's endpoints, the oldest first."""
        query = (
            select(webhooks).where(webhooks.c.tenant == tenant).order_by(webhooks.c.created_at, webhooks.c.id)
        )
        with self._database.read() as connection:
            return [_endpoint_of(row) for row in connection.execute(query).mappings()]

    def webhook(self, tenant: TenantId, webhook: WebhookId) -> Endpoint:
        """Return an endpoint.

        Raises:
            NotFound: the tenant has none of this id.
        """
        with self._database.read() as connection:
            return _found(connection, tenant, webhook)

    def change_webhook(self, tenant: TenantId, webhook: WebhookId, change: Change) -> Endpoint:
        """Change an endpoint, and return it; one that is enabled begins anew.

        Raises:
            NotFound: the tenant has none of this id.
        """
        given: dict[str, Any] = {
            "url": change.url,
            "events": None if change.events is None else list(change.events),
            "description": change.description,
            "enabled": change.enabled,
        }
        values = {name: value for name, value in given.items() if value is not None}
        if change.enabled is not None:
            values["disabled_because"] = None if change.enabled else "its owner turned it off"
            values["failing_since"] = None
        if not values:
            return self.webhook(tenant, webhook)
        with self._database.begin() as connection:
            changed = update(webhooks).where(_is(tenant, webhook)).values(values).returning(*webhooks.c)
            row = connection.execute(changed).mappings().one_or_none()
            if row is None:
                raise _unknown(webhook)
            return _endpoint_of(row)

    def rotate_webhook(self, tenant: TenantId, webhook: WebhookId) -> Endpoint:
        """Give an endpoint another secret, beside which the one before is good for a day.

        Raises:
            NotFound: the tenant has none of this id.
        """
        rotated = (
            update(webhooks)
            .where(_is(tenant, webhook))
            .values(rotation=webhooks.c.rotation + 1, rotated_at=now())
            .returning(*webhooks.c)
        )
        with self._database.begin() as connection:
            row = connection.execute(rotated).mappings().one_or_none()
            if row is None:
                raise _unknown(webhook)
            return _endpoint_of(row)

    def delete_webhook(self, tenant: TenantId, webhook: WebhookId) -> None:
        """Forget an endpoint; what was to be told to it is given up.

        Raises:
            NotFound: the tenant has none of this id.
        """
        with self._database.begin() as connection:
            gone = delete(webhooks).where(_is(tenant, webhook)).returning(webhooks.c.id)
            if connection.execute(gone).one_or_none() is None:
                raise _unknown(webhook)
            give_up(connection, webhook)

    def disable_webhook(self, webhook: WebhookId, because: str) -> bool:
        """Turn an endpoint off, give up what was to be told to it, and return whether it was on."""
        disabled = (
            update(webhooks)
            .where(webhooks.c.id == webhook, webhooks.c.enabled)
            .values(enabled=False, disabled_because=because)
            .returning(webhooks.c.id)
        )
        with self._database.begin() as connection:
            if connection.execute(disabled).one_or_none() is None:
                return False
            give_up(connection, webhook)
            return True

    def test_webhook(self, tenant: TenantId, webhook: WebhookId) -> DeliveryLog:
        """Book a message that says nothing, and return it.

        Raises:
            NotFound: the tenant has no endpoint of this id.
            InvalidRequest: it is disabled.
        """
        with self._database.begin() as connection:
            found = _found(connection, tenant, webhook)
            if not found.enabled:
                raise InvalidRequest("this webhook is disabled; enable it first", pointer="")
            at = connection.execute(select(now())).scalar_one()
            timestamp = moment(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            body = {"type": _TEST, "timestamp": timestamp, "data": {"webhook": webhook}}
            text = json.dumps(body, separators=(",", ":"))
            message = new_message(tenant, _TEST, found.url, text, webhook=webhook, job_id="")
            BOOK.run_all(connection, [message])
            return _delivery(connection, tenant, webhook, message["id"])

    def webhook_deliveries(
        self, tenant: TenantId, webhook: WebhookId, *, page_size: int, before: MessageId | None = None
    ) -> tuple[list[DeliveryLog], MessageId | None]:
        """Return a page of an endpoint's messages, newest first, and the one that the next is before.

        Raises:
            NotFound: the tenant has no endpoint of this id.
        """
        size = min(max(page_size, 1), _LARGEST_PAGE)
        query = (
            select(deliveries)
            .where(deliveries.c.webhook == webhook, deliveries.c.tenant == tenant)
            .order_by(deliveries.c.id.desc())
            .limit(size + 1)
        )
        if before is not None:
            query = query.where(deliveries.c.id < before)
        with self._database.read() as connection:
            _found(connection, tenant, webhook)
            logs = [log_of(row) for row in connection.execute(query).mappings()]
        return logs[:size], logs[size - 1].id if len(logs) > size else None

    def redeliver(self, tenant: TenantId, webhook: WebhookId, message: MessageId) -> DeliveryLog:
        """Have a message sent again, with the same id and body, as if it were new; return it.

        Raises:
            NotFound: the tenant has no such endpoint, or it no such message.
            InvalidRequest: the endpoint is disabled.
        """
        again = (
            update(deliveries)
            .where(deliveries.c.id == message, deliveries.c.webhook == webhook)
            .where(deliveries.c.tenant == tenant, deliveries.c.state != DeliveryState.PENDING.value)
            .values(state=DeliveryState.PENDING.value, attempts=0, next_at=now(), ended_at=null())
        )
        with self._database.begin() as connection:
            if not _found(connection, tenant, webhook).enabled:
                raise InvalidRequest("this webhook is disabled; enable it first", pointer="")
            connection.execute(again)
            return _delivery(connection, tenant, webhook, message)


def give_up(connection: Connection, webhook: str) -> None:
    """End what was to be told to an endpoint."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.webhook == webhook, deliveries.c.next_at.is_not(None))
        .values(state=DeliveryState.FAILED.value, next_at=null(), ended_at=now())
    )


def _is(tenant: TenantId, webhook: WebhookId) -> Any:
    return (webhooks.c.id == webhook) & (webhooks.c.tenant == tenant)


def _found(connection: Connection, tenant: TenantId, webhook: WebhookId) -> Endpoint:
    row = connection.execute(select(webhooks).where(_is(tenant, webhook))).mappings().one_or_none()
    if row is None:
        raise _unknown(webhook)
    return _endpoint_of(row)


def _delivery(connection: Connection, tenant: TenantId, webhook: WebhookId, message: str) -> DeliveryLog:
    query = select(deliveries).where(
        deliveries.c.id == message, deliveries.c.webhook == webhook, deliveries.c.tenant == tenant
    )
    row = connection.execute(query.limit(literal_column("1"))).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no delivery {message}")
    return log_of(row)


def _unknown(webhook: str) -> NotFound:
    return NotFound(f"there is no webhook {webhook}")


def _endpoint_of(row: Row) -> Endpoint:
    return Endpoint(
        id=WebhookId(row["id"]),
        tenant=TenantId(row["tenant"]),
        url=row["url"],
        events=loaded(row["events"]),
        description=row["description"],
        enabled=bool(row["enabled"]),
        disabled_because=row["disabled_because"],
        rotation=row["rotation"],
        rotated_at=None if row["rotated_at"] is None else moment(row["rotated_at"]),
        created_at=moment(row["created_at"]),
    )
