"""Messages on their way: what is due, what became of each try."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NewType

from sqlalchemy import (
    JSON,
    BigInteger,
    ClauseElement,
    ColumnElement,
    Connection,
    ScalarSelect,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
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
from shared.store.statements import Statement, among, constant, listed
from shared.tables import deliveries, jobs, webhooks

_NONE: Mapping[str, int] = MappingProxyType({})
#: Due messages that are looked at for each that may go: those beyond stand behind others on the same lane.
_GLANCES = 8
#: For so long after a rotation, a message is signed with the secret before as well.
_BOTH_MS = 24 * 3600 * 1000  # a day

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
    #: The endpoint; None: the job's own URL.
    webhook: str | None
    url: str
    #: Whose it is to take it: the host's.
    lane: str
    event: str
    job_id: JobId
    #: JSON, to be sent as it is.
    body: str
    #: The numbers of the secrets that it is to be signed with, the present one first.
    rotations: Sequence[int]
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

    def has_deliveries(self, full: Collection[str] = ()) -> bool:
        """Return whether `claim_deliveries` would have found one.

        Args:
            full: lanes on which nothing more may go at present.
        """
        with self._database.read() as connection:
            return _DUE.run(connection, {"full": json.dumps(list(full)), "most": 1}).first() is not None

    def claim_deliveries(
        self, limit: int, lease: timedelta, under_way: Mapping[str, int] = _NONE, per_lane: int | None = None
    ) -> list[Delivery]:
        """Take messages that are due, those that waited longest first; nobody else takes them meanwhile.

        Args:
            lease: after so long without news of it, a message is due again.
            under_way: how many messages are on their way on each lane.
            per_lane: so many may be on one; None: any number. So a lane that is slow holds up no other one.
        """
        full = [lane for lane, count in under_way.items() if per_lane is not None and count >= per_lane]

        def work(connection: Connection) -> Sequence[Row]:
            most = limit if per_lane is None else limit * _GLANCES
            due = _DUE.run(connection, {"full": json.dumps(full), "most": most}).all()
            chosen = _chosen(due, limit, under_way, per_lane)
            values = listed(connection, chosen) | {"lease_ms": milliseconds(lease)}
            return _TAKE.run(connection, values).mappings().all() if chosen else []

        rows = self._database.write(work)
        return [_delivery_of(row) for row in sorted(rows, key=lambda row: row["id"])]

    def delivered(self, message: MessageId, done: Try) -> None:
        """Note the try that succeeded."""
        self._note(message, done, DeliveryState.DELIVERED, None)

    def not_delivered(self, message: MessageId, done: Try, retry_in: timedelta | None) -> timedelta:
        """Note a try that failed, and return for how long all tries at its endpoint have.

        Args:
            retry_in: when it is due again; None gives it up.
        """
        state = DeliveryState.FAILED if retry_in is None else DeliveryState.PENDING
        return self._note(message, done, state, retry_in)

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
        return [log_of(row) for row in rows]

    def _note(
        self, message: MessageId, done: Try, state: DeliveryState, retry_in: timedelta | None
    ) -> timedelta:
        words = None if done.error is None else storable(done.error)
        values = {
            "message": message,
            "entry": json.dumps({"status": done.status, "error": words, "ms": done.ms}),
            "reached": state.value,
            "delay_ms": 0 if retry_in is None else milliseconds(retry_in),
        }

        def work(connection: Connection) -> timedelta:
            webhook = _NOTE.run(connection, values).scalar()
            if webhook is None:
                return timedelta(0)
            if done.error is None:
                _WELL.run(connection, {"wanted": webhook}).close()
                return timedelta(0)
            failing_ms = _ILL.run(connection, {"wanted": webhook}).scalar()
            return timedelta(milliseconds=failing_ms or 0)

        return self._database.write(work)


def _chosen(
    due: Sequence[Sequence[str]], limit: int, under_way: Mapping[str, int], per_lane: int | None
) -> list[str]:
    """Return the ids of messages that may go: of (id, lane), the first ones, on no lane too many."""
    counts = Counter(under_way)
    chosen: list[str] = []
    for message, lane in due:
        if len(chosen) < limit and (per_lane is None or counts[lane] < per_lane):
            counts[lane] += 1
            chosen.append(message)
    return chosen


def _delivery_of(row: Row) -> Delivery:
    return Delivery(
        id=row["id"],
        tenant=row["tenant"],
        webhook=row["webhook"],
        # Its owner may have moved the endpoint since.
        url=row["moved_to"] or row["url"],
        lane=row["lane"],
        event=row["event"],
        job_id=row["job_id"],
        body=row["body"],
        rotations=_rotations(row),
        attempts=row["attempts"],
        taken_at=moment(row["taken_at"]),
    )


def _rotations(row: Row) -> list[int]:
    present = row["rotation"] or 1
    is_new = row["rotated_for"] is not None and row["rotated_for"] < _BOTH_MS
    return [present, present - 1] if is_new else [present]


def log_of(row: Row) -> DeliveryLog:
    """Return what a row says of a message and its tries."""
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


def _take(dialect: str) -> ClauseElement:
    # Still due: another sender may have taken it since it was looked at.
    few = select(deliveries.c.id).where(among(deliveries.c.id, dialect), deliveries.c.next_at <= now())
    picked = few.with_for_update(skip_locked=True).cte("picked")
    taken = ("id", "tenant", "webhook", "url", "lane", "event", "job_id", "body", "attempts")
    return (
        update(deliveries)
        .where(deliveries.c.id.in_(select(picked.c.id)))
        .values(next_at=now() + cast(bindparam("lease_ms"), BigInteger))
        .returning(
            *(deliveries.c[name] for name in taken),
            now().label("taken_at"),
            _of_endpoint(webhooks.c.url).label("moved_to"),
            _of_endpoint(webhooks.c.rotation).label("rotation"),
            _of_endpoint(now() - webhooks.c.rotated_at).label("rotated_for"),
        )
    )


def _of_endpoint(value: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Return what a message's endpoint has; NULL where it has none, or it is gone."""
    return select(value).where(webhooks.c.id == deliveries.c.webhook).correlate(deliveries).scalar_subquery()


def _due(dialect: str) -> ClauseElement:
    given = bindparam("full", type_=Text)
    if dialect == "postgresql":
        values = func.json_array_elements_text(cast(given, JSON))
    else:
        values = func.json_each(given)
    lanes = values.table_valued(column("value", Text)).alias("full")
    # With no order asked for, PostgreSQL may walk the table until it meets one.
    return (
        select(deliveries.c.id, deliveries.c.lane)
        .where(deliveries.c.next_at <= now(), deliveries.c.lane.not_in(select(lanes.c.value)))
        .order_by(deliveries.c.next_at)
        .limit(bindparam("most"))
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
        .returning(deliveries.c.webhook)
    )


def _longer_log(dialect: str) -> ColumnElement[Any]:
    """Return the log with one entry more, which ended at this moment."""
    entry = bindparam("entry", type_=Text)
    if dialect == "postgresql":
        timed = cast(entry, JSONB).op("||")(func.jsonb_build_object(constant("at"), now()))
        return cast(cast(deliveries.c.log, JSONB).op("||")(func.jsonb_build_array(timed)), JSON)
    return func.json_insert(deliveries.c.log, "$[#]", func.json_set(entry, "$.at", now()))


#: Messages that are due, but for those on the lanes of the JSON array `full`.
_DUE = Statement(_due)
_WELL = Statement(
    lambda _: (
        update(webhooks)
        .where(webhooks.c.id == bindparam("wanted"), webhooks.c.failing_since.is_not(None))
        .values(failing_since=null())
    )
)
_ILL = Statement(
    lambda _: (
        update(webhooks)
        .where(webhooks.c.id == bindparam("wanted"))
        .values(failing_since=func.coalesce(webhooks.c.failing_since, now()))
        .returning(now() - webhooks.c.failing_since)
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
