"""Answers from the cache: jobs that succeed at submit, with the result of another one of their tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Text,
    bindparam,
    insert,
    literal_column,
    select,
)

from shared.database import now
from shared.jobs import Job, JobId, JobState, NewJob
from shared.store.messages import book
from shared.store.rows import JOB_COLUMNS, NEW, files_in, job_of, values_of
from shared.store.statements import Statement, constant, each
from shared.tables import job_files, jobs

#: What a job takes over from the one that answers it.
_COPIED = ("result", "result_file", "artifacts", "provenance", "batch_size", "stored_bytes")
#: What it was given itself.
_OWN = (
    "id",
    "tenant",
    "pool",
    "task",
    "priority",
    "tries_left",
    "timeout_ms",
    "retain_ms",
    "cache",
    "webhook",
    "request_id",
    "labels",
    "input",
)


def answer(connection: Connection, new: Sequence[NewJob]) -> dict[JobId, Job]:
    """Store those new jobs whose `answered_by` still has its result, and return them."""
    done: dict[JobId, Job] = {}
    for job in new:
        if job.answered_by is None:
            continue
        values = values_of(job, created_at=0, vtime=0, tries=0) | {"source": job.answered_by}
        row = _ANSWER.run(connection, values).mappings().one_or_none()
        if row is not None:
            done[job.id] = job_of(row)
            _TAKE_FILES.run(connection, {"job": job.id, "source": job.answered_by})
    link(connection, [job for job in new if job.id in done])
    book(connection, list(done))
    return done


def link(connection: Connection, new: Sequence[NewJob]) -> None:
    """Note the blobs that new jobs' inputs name."""
    links = ((job.id, file) for job in new for file in sorted(set(files_in(job.input))))
    LINK.run_all(connection, ({"job": job, "file": file, "role": "input"} for job, file in links))


def _answer(_: str) -> ClauseElement:
    source = jobs.alias("source")
    own = {name: bindparam(name, type_=jobs.c[name].type) for name in _OWN}
    columns: dict[str, ColumnElement[Any]] = {name: constant(value) for name, value in NEW.items()}
    columns |= own | {name: source.c[name] for name in _COPIED}
    columns |= dict.fromkeys(("created_at", "run_after", "queued_at", "finished_at"), now())
    columns |= {
        "state": constant(JobState.SUCCEEDED.value),
        "claimable": constant(value=False),
        "vtime": constant(0),
        "fraction": constant(1.0),
        "expires_at": now() + bindparam("retain_ms", type_=jobs.c.retain_ms.type),
        "cached_from": source.c.id,
    }
    found = (
        select(*columns.values())
        .where(
            source.c.id == bindparam("source"),
            source.c.tenant == bindparam("tenant"),
            source.c.state == JobState.SUCCEEDED.value,
            source.c.expires_at > now(),
        )
        # Held against a purge, which would delete the blobs that are about to be named once more.
        .with_for_update(read=True, key_share=True, of=source)
    )
    return insert(jobs).from_select(list(columns), found).returning(*JOB_COLUMNS)


def _take_files(_: str) -> ClauseElement:
    made = select(bindparam("job", type_=Text), job_files.c.file, job_files.c.role).where(
        job_files.c.job_id == bindparam("source"), job_files.c.role != "input"
    )
    return insert(job_files).from_select(["job_id", "file", "role"], made)


def _cached(dialect: str) -> ClauseElement:
    key = each(dialect)
    newest = (
        select(jobs.c.id)
        .where(
            jobs.c.tenant == bindparam("tenant"),
            jobs.c.cache_key == key.c.value,
            jobs.c.expires_at > now(),
        )
        # Only a success has a key.
        .order_by(jobs.c.id.desc())
        .limit(literal_column("1"))
        .scalar_subquery()
    )
    return select(key.c.value, newest)


LINK = Statement(
    lambda _: insert(job_files).values(
        job_id=bindparam("job"), file=bindparam("file"), role=bindparam("role")
    )
)
_ANSWER = Statement(_answer)
_TAKE_FILES = Statement(_take_files)
#: Rows of (key, id of the newest job that answers it or NULL), for a JSON array of keys `wanted`.
CACHED = Statement(_cached)
