"""What is to be told of a job's end, written down in the transaction that ends it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import ClauseElement, ColumnElement, and_, bindparam, insert, literal_column, select
from sqlalchemy.engine import Connection

from shared.database import now
from shared.jobs import JobId, JobState, Json, new_job_id
from shared.store.rows import Row, loaded, moment
from shared.store.statements import Statement, among, constant, listed
from shared.tables import deliveries, jobs, webhooks

#: A message stays under 20 kB, whatever its job's user or a library wrote: a character takes 6 bytes at most.
_MOST_ERROR_CHARS = 1_000
_MOST_LABEL_BYTES = 12_000

#: Every ending answers these, so that a job that nobody is told of costs no look of its own: the job's own
#: webhook, and one of its tenant's endpoints. The values themselves: whether one is NULL, SQLite 3.40 does
#: not know in RETURNING.
TOLD: tuple[ColumnElement[Any], ...] = (
    jobs.c.webhook,
    select(webhooks.c.id)
    .where(webhooks.c.tenant == jobs.c.tenant, webhooks.c.enabled)
    .limit(literal_column("1"))
    .correlate(jobs)
    .scalar_subquery()
    .label("endpoint"),
)

_COLUMNS = [
    jobs.c[name]
    for name in (
        *("id", "tenant", "task", "state", "version", "generation", "attempt"),
        *("error_code", "error_message", "error_retryable", "created_at", "started_at", "finished_at"),
        *("webhook", "labels"),
    )
]


def event_of(state: JobState) -> str:
    """Return the name of a state's coming: `job.succeeded`."""
    return f"job.{state.value}"


def book(connection: Connection, ids: Collection[JobId]) -> int:
    """Write down what is to be told of jobs that this transaction moved, and return how much that is.

    Those that did not end, or in a way that nobody wants to be told of, are left out. A tenant's endpoints
    are told as its jobs' own URLs are.
    """
    if not ids:
        return 0
    rows = _MOVED.run(connection, listed(connection, ids)).mappings().all()
    told = [message for _, group in groupby(rows, itemgetter("id")) for message in _messages(list(group))]
    BOOK.run_all(connection, told)
    return len(told)


def is_told(row: Row) -> bool:
    """Return whether somebody may want to be told of a job, by a row that has `TOLD`."""
    return row["webhook"] is not None or row["endpoint"] is not None


def new_message(tenant: str, event: str, url: str, body: str, *, webhook: str | None, job_id: str) -> Json:
    """Return the values of `BOOK` for a message.

    Args:
        webhook: the endpoint; None: the job's own URL.
    """
    return {
        # As a job's: the order of ids is their order in time.
        "id": new_job_id().replace("job_", "msg_"),
        "tenant": tenant,
        "webhook": webhook,
        "url": url,
        "event": event,
        "job_id": job_id,
        "body": body,
        "lane": lane_of(url),
    }


def lane_of(url: str) -> str:
    """Return whose messages to a URL are: its host's, by name and port."""
    return urlsplit(url).netloc.lower()


def _messages(rows: Sequence[Row]) -> Iterator[Json]:
    """Yield what is to be told of a job: to its own URL, and to each endpoint, of which each has a row."""
    row = rows[0]
    event, own = event_of(JobState(row["state"])), loaded(row["webhook"])
    tell = partial(new_message, row["tenant"], event, body=_body(event, row), job_id=row["id"])
    if own is not None and row["state"] in own["events"]:
        yield tell(url=own["url"], webhook=None)
    for endpoint in rows:
        if endpoint["endpoint"] is not None and event in loaded(endpoint["endpoint_events"]):
            yield tell(url=endpoint["endpoint_url"], webhook=endpoint["endpoint"])


def _body(event: str, row: Row) -> str:
    """Return the message as Standard Webhooks has it, thin: the result is fetched by its link."""
    data = {
        "id": row["id"],
        "task": row["task"],
        "status": row["state"],
        "version": row["version"],
        "generation": row["generation"],
        "attempt": row["attempt"],
        "error": _error(row),
        "labels": dict(_first_labels(loaded(row["labels"]))),
        "created_at": _rfc3339(row["created_at"]),
        "started_at": _rfc3339(row["started_at"]),
        "finished_at": _rfc3339(row["finished_at"]),
        "links": {"self": f"/v1/jobs/{row['id']}"},
    }
    return _dump({"type": event, "timestamp": data["finished_at"], "data": data})


def _error(row: Row) -> Json | None:
    if row["error_code"] is None:
        return None
    return {
        "code": row["error_code"],
        "message": row["error_message"][:_MOST_ERROR_CHARS],
        "retryable": bool(row["error_retryable"]),
    }


def _first_labels(labels: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the labels in their order, as far as there is room."""
    room = _MOST_LABEL_BYTES
    for name, value in labels.items():
        room -= len(_dump({name: value}).encode())
        if room < 0:
            return
        yield name, value


def _rfc3339(milliseconds_since_1970: int | None) -> str | None:
    if milliseconds_since_1970 is None:
        return None
    return moment(milliseconds_since_1970).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dump(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _booked(_: str) -> ClauseElement:
    names = ("id", "tenant", "webhook", "url", "event", "job_id", "body", "lane")
    given: Json = {name: bindparam(name) for name in names}
    return insert(deliveries).values(
        given
        | {"state": constant("pending"), "attempts": constant(0), "log": constant("[]")}
        | dict.fromkeys(("next_at", "created_at"), now())
    )


_MOVED = Statement(
    lambda dialect: (
        select(
            *_COLUMNS,
            webhooks.c.id.label("endpoint"),
            webhooks.c.url.label("endpoint_url"),
            webhooks.c.events.label("endpoint_events"),
        )
        .outerjoin_from(jobs, webhooks, and_(webhooks.c.tenant == jobs.c.tenant, webhooks.c.enabled))
        .where(among(jobs.c.id, dialect))
        .order_by(jobs.c.id, webhooks.c.id)
    )
)
#: Takes what `new_message` returns.
BOOK = Statement(_booked)
