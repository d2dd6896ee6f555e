"""What is to be told of a job's end, written down in the transaction that ends it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from sqlalchemy import ClauseElement, bindparam, insert, select
from sqlalchemy.engine import Connection

from shared.database import now
from shared.jobs import JobId, JobState, Json, new_job_id
from shared.store.rows import Row, loaded, moment
from shared.store.statements import Statement, among, constant, listed
from shared.tables import deliveries, jobs

#: A message stays under 20 kB, whatever its job's user or a library wrote: a character takes 6 bytes at most.
_MOST_ERROR_CHARS = 1_000
_MOST_LABEL_BYTES = 12_000

#: Every ending answers it, so that a job without one costs no look of its own. The value itself: whether it
#: is NULL, SQLite 3.40 does not know in RETURNING.
WEBHOOK = jobs.c.webhook

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

    Those that did not end, or in a way that nobody wants to be told of, are left out.
    """
    if not ids:
        return 0
    rows = _MOVED.run(connection, listed(connection, ids)).mappings().all()
    told = [_message(row) for row in rows if row["state"] in loaded(row["webhook"])["events"]]
    _BOOK.run_all(connection, told)
    return len(told)


def _message(row: Row) -> Json:
    event = event_of(JobState(row["state"]))
    return {
        # As a job's: the order of ids is their order in time.
        "id": new_job_id().replace("job_", "msg_"),
        "tenant": row["tenant"],
        "url": loaded(row["webhook"])["url"],
        "event": event,
        "job_id": row["id"],
        "body": _body(event, row),
    }


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
    given: Json = {name: bindparam(name) for name in ("id", "tenant", "url", "event", "job_id", "body")}
    return insert(deliveries).values(
        given
        | {"state": constant("pending"), "attempts": constant(0), "log": constant("[]")}
        | dict.fromkeys(("next_at", "created_at"), now())
    )


_MOVED = Statement(
    lambda dialect: select(*_COLUMNS).where(among(jobs.c.id, dialect), jobs.c.webhook.is_not(None))
)
_BOOK = Statement(_booked)
