"""Keyset pages over a tenant's jobs, newest first: as fast on page 1,000 as on page 1, and no job twice."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, column, exists, func, select, tuple_

from shared.errors import InvalidRequest
from shared.jobs import JobState, TenantId
from shared.store.edge import milliseconds
from shared.store.rows import JOB_COLUMNS, Row
from shared.tables import jobs

#: The most jobs on one page, whatever is asked for.
LARGEST_PAGE = 200

_EPOCH = datetime.fromtimestamp(0, UTC)


def page_query(
    *,
    dialect: str,
    tenant: TenantId,
    states: Collection[JobState],
    error: str | None,
    task: str | None,
    labels: Mapping[str, str],
    created_after: datetime | None,
    after: str | None,
) -> Select[Any]:
    """Return the query for a tenant's jobs that pass every filter, newest first, from where `after` says."""
    query = select(*JOB_COLUMNS).where(jobs.c.tenant == tenant)
    if error is not None:
        # Said so that the index of states leads there: only what failed has an error.
        query = query.where(jobs.c.state == JobState.FAILED.value, jobs.c.error_code == error)
    if states:
        query = query.where(jobs.c.state.in_(sorted(state.value for state in states)))
    if task is not None:
        query = query.where(jobs.c.task == task)
    for key, value in labels.items():
        query = query.where(_labelled(dialect, key, value))
    if created_after is not None:
        query = query.where(jobs.c.created_at > milliseconds(created_after - _EPOCH))
    if after is not None:
        query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < read_token(after))
    return query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc())


def write_token(row: Row) -> str:
    """Return the token of the page that begins after a row."""
    return urlsafe_b64encode(f"{row['created_at']}.{row['id']}".encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[int, str]:
    """Return the (created_at, id) that a page begins after.

    Raises:
        InvalidRequest: `write_token` did not write it.
    """
    try:
        padded = token + "=" * (-len(token) % 4)
        created_at, job_id = urlsafe_b64decode(padded.encode("ascii")).decode("ascii").split(".", 1)
        key = (int(created_at), job_id)
    except ValueError as error:
        raise _bad_token() from error
    # Decoding forgives what encoding never writes; a database may not (NUL, numbers past 64 bits).
    known = write_token({"created_at": key[0], "id": key[1]}) == token
    if not known or not 0 <= key[0] < 2**63 or "\0" in job_id:
        raise _bad_token()
    return key


def _bad_token() -> InvalidRequest:
    return InvalidRequest(
        "page_token is not one that this list answered; leave it out to begin at the newest job",
        pointer="/page_token",
    )


def _labelled(dialect: str, key: str, value: str) -> ColumnElement[bool]:
    if dialect == "postgresql":
        return jobs.c.labels.op("->>")(key) == value
    # Not `->>`: SQLite takes a key that begins with `$` for a path.
    label = func.json_each(jobs.c.labels).table_valued(column("key"), column("value"))
    return exists().where(label.c.key == key, label.c.value == value)
