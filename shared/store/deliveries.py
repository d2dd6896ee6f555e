"""Messages on their way: what is due, what became of each try."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType

from sqlalchemy import (
    JSON,
    BigInteger,
    ClauseElement,
    ColumnElement,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.database import now
from shared.errors import NotFound
from shared.jobs import JobId, TenantId
from shared.store.edge import Edge, milliseconds
from shared.store.rows import Row, loaded, moment, storable
from shared.store.statements import Statement, constant
from shared.tables import deliveries, jobs

#: `webhook-id` of a message.
MessageId = NewType("MessageId", str)


class DeliveryState(StrEnum):
    """Where a message stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    #: Given up.
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message that is due, taken by one who will try it."""

    id: MessageId
    tenant: TenantId
    url: str
    event: str
    job_id: JobId
    #: JSON, to be sent as it is.
    body: str
    #: Tries that came before.
    attempts: int
    #: When it was taken, on the database's clock.
    taken_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """What became of one try."""

    #: HTTP's; None when no answer came.
    status: int | None
    #: In words; None for a success.
    error: str | None
    #: How long it took, in milliseconds.
    ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryLog:
    """A message as its job's owner sees it. Times are aware, UTC."""

    id: MessageId
    event: str
    state: DeliveryState
    created_at: datetime
    #: The next try; None once it ended.
    next_at: datetime | None
    ended_at: datetime | None
    #: When each ended, and how; the newest last.
    tries: Sequence[tuple[datetime, Try]]


class Deliveries(Edge):
    """Every message is tried until it is delivered or given up: at least once, by any worker."""

    def has_deliveries(self) -> bool:
        """Return whether `claim_deliveries` would have found one."""
        with self._database.read() as connection:
            return _FIRST_DUE.run(connection, {}).first() is not None

    def claim_deliveries(self, limit: int, lease: timedelta) -> list[Delivery]:
        """Take messages that are due, those that waited longest first; nobody else takes them meanwhile.

        Args:
            lease: after so long without news of it, a message is due again.
        """
        values = {"most": limit, "lease_ms": milliseconds(lease)}
        rows = self._database.write(
            lambda connection: _TAKE.run(connection, values).mappings().all(),
        )
        return [_delivery_of(row) for row in sorted(rows, key=lambda row: row["id"])]

    def delivered(self, message: MessageId, done: Try) -> None:
        """Note the try that succeeded."""
        self._note(message, done, DeliveryState.DELIVERED, None)

    def not_delivered(self, message: MessageId, done: Try, retry_in: timedelta | None) -> None:
        """Note a try that failed.

        Args:
            retry_in: when it is due again; None gives it up.
        """
        state = DeliveryState.FAILED if retry_in is None else DeliveryState.PENDING
        self._note(message, done, state, retry_in)

    def deliveries_of(self, tenant: TenantId, job_id: JobId) -> list[DeliveryLog]:
        """Return what was told of a job, or is to be, the oldest first; some of it outlives the job.

        Raises:
            NotFound: this tenant has no such job, and nothing is known of it.
        """
        values = {"wanted": job_id, "wanted_tenant": tenant}
        with self._database.read() as connection:
            rows = _LOGS.run(connection, values).mappings().all()
            if not rows and _JOB.run(connection, values).first() is None:
                raise NotFound(f"there is no job {job_id}")
        return [_log_of(row) for row in rows]

    def _note(self, message: MessageId, done: Try, state: DeliveryState, retry_in: timedelta | None) -> None:
        words = None if done.error is None else storable(done.error)
        values = {
            "message": message,
            "entry": json.dumps({"status": done.status, "error": words, "ms": done.ms}),
            "reached": state.value,
            "delay_ms": 0 if retry_in is None else milliseconds(retry_in),
        }
        self._database.write(lambda connection: _NOTE.run(connection, values).close())


def _delivery_of(row: Row) -> Delivery:
    return Delivery(
        id=row["id"],
        tenant=row["tenant"],
        url=row["url"],
        event=row["event"],
        job_id=row["job_id"],
        body=row["body"],
        attempts=row["attempts"],
        taken_at=moment(row["taken_at"]),
    )


def _log_of(row: Row) -> DeliveryLog:
    return DeliveryLog(
        id=row["id"],
        event=row["event"],
        state=DeliveryState(row["state"]),
        created_at=moment(row["created_at"]),
        next_at=None if row["next_at"] is None else moment(row["next_at"]),
        ended_at=None if row["ended_at"] is None else moment(row["ended_at"]),
        tries=[
            (moment(entry["at"]), Try(status=entry["status"], error=entry["error"], ms=entry["ms"]))
            for entry in loaded(row["log"])
        ],
    )


def _take(_: str) -> ClauseElement:
    few = select(deliveries.c.id).where(deliveries.c.next_at <= now()).order_by(deliveries.c.next_at)
    picked = few.limit(bindparam("most")).with_for_update(skip_locked=True).cte("picked")
    taken = ("id", "tenant", "url", "event", "job_id", "body", "attempts")
    return (
        update(deliveries)
        .where(deliveries.c.id.in_(select(picked.c.id)))
        .values(next_at=now() + cast(bindparam("lease_ms"), BigInteger))
        .returning(*(deliveries.c[name] for name in taken), now().label("taken_at"))
    )


def _note(dialect: str) -> ClauseElement:
    is_open = cast(bindparam("reached"), Text) == DeliveryState.PENDING.value
    return (
        update(deliveries)
        # Should two have tried it, the first being taken for dead: what ended it is final.
        .where(deliveries.c.id == bindparam("message"), deliveries.c.next_at.is_not(None))
        .values(
            state=cast(bindparam("reached"), Text),
            attempts=deliveries.c.attempts + 1,
            next_at=case((is_open, now() + cast(bindparam("delay_ms"), BigInteger)), else_=null()),
            ended_at=case((is_open, null()), else_=now()),
            log=_longer_log(dialect),
        )
    )


def _longer_log(dialect: str) -> ColumnElement[Any]:
    """Return the log with one entry more, which ended at this moment."""
    entry = bindparam("entry", type_=Text)
    if dialect == "postgresql":
        timed = cast(entry, JSONB).op("||")(func.jsonb_build_object(constant("at"), now()))
        return cast(cast(deliveries.c.log, JSONB).op("||")(func.jsonb_build_array(timed)), JSON)
    return func.json_insert(deliveries.c.log, "$[#]", func.json_set(entry, "$.at", now()))


_FIRST_DUE = Statement(
    # With no order asked for, PostgreSQL may walk the table until it meets one.
    lambda _: (
        select(deliveries.c.id)
        .where(deliveries.c.next_at <= now())
        .order_by(deliveries.c.next_at)
        .limit(literal_column("1"))
    )
)
_TAKE = Statement(_take)
_NOTE = Statement(_note)
_LOGS = Statement(
    lambda _: (
        select(deliveries)
        .where(deliveries.c.job_id == bindparam("wanted"), deliveries.c.tenant == bindparam("wanted_tenant"))
        .order_by(deliveries.c.id)
    )
)
_JOB = Statement(
    lambda _: select(constant(1)).where(
        jobs.c.id == bindparam("wanted"), jobs.c.tenant == bindparam("wanted_tenant")
    )
)
