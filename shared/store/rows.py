"""A row as a value, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping

from shared.database import encoded
from shared.jobs import Artifact, Claim, Failure, FileId, Job, JobState, Json, NewJob, Priority, Progress
from shared.store.edge import milliseconds
from shared.tables import jobs

_FILE_ID = re.compile(r"[0-9a-f]{64}")

#: What the database answered.
Row = RowMapping | Mapping[str, Any]

#: All that a `Job` is made of.
JOB_COLUMNS = [
    jobs.c[name]
    for name in (
        *("id", "tenant", "task", "pool", "state", "version", "attempt", "generation", "priority", "vtime"),
        *("fraction", "stage", "message", "preview", "error_code", "error_message", "error_retryable"),
        *("created_at", "retried_at", "started_at", "finished_at", "expires_at", "timeout_ms", "batch_size"),
        *("result_file", "cached_from"),
        *("labels", "timings_ms", "artifacts", "provenance", "input", "result"),
    )
]
#: All that a `Claim` is made of.
CLAIM_COLUMNS = [
    jobs.c[name]
    for name in (
        *("id", "attempt", "tenant", "task", "pool", "alone", "timeout_ms", "cache", "priority", "vtime"),
        *("request_id", "labels", "input"),
    )
]

#: What is the same in all new jobs; `GIVEN` is what is not, `run_after` and `queued_at` are `created_at`.
NEW: Json = {
    "state": JobState.QUEUED.value,
    "version": 1,
    "claimable": True,
    "attempt": 0,
    "alone": False,
    "fraction": 0.0,
    "stage": "",
    "message": "",
    "timings_ms": "{}",
    "artifacts": "[]",
    "provenance": "{}",
}
GIVEN = (
    *("id", "tenant", "pool", "task", "priority", "vtime", "tries_left", "created_at"),
    *("start_by", "timeout_ms", "retain_ms", "cache", "input_bytes", "webhook", "request_id"),
    *("labels", "input"),
)

_NO_PROGRESS = Progress()
_EPOCH = datetime.fromtimestamp(0, UTC)


def values_of(job: NewJob, *, created_at: int, vtime: int, tries: int) -> Json:
    """Return the values of `GIVEN`."""
    return {
        "id": job.id,
        "tenant": job.tenant,
        "pool": job.pool,
        "task": job.task,
        "priority": int(job.priority),
        "vtime": vtime,
        "tries_left": tries,
        "created_at": created_at,
        "start_by": None if job.start_within is None else created_at + milliseconds(job.start_within),
        "timeout_ms": None if job.timeout is None else milliseconds(job.timeout),
        "retain_ms": milliseconds(job.retain),
        "labels": encoded(dict(job.labels)) if job.labels else "{}",
        "cache": job.cache,
        "input_bytes": job.input_bytes,
        "webhook": None if job.webhook is None else encoded(asdict(job.webhook)),
        "request_id": job.request_id,
        "input": encoded(job.input),
    }


def queued_job(job: NewJob, *, created_at: int) -> Job:
    """Return a new job as reading it back would."""
    return Job(
        id=job.id,
        tenant=job.tenant,
        task=job.task,
        pool=job.pool,
        state=JobState.QUEUED,
        version=1,
        attempt=0,
        priority=job.priority,
        input=job.input,
        labels=dict(job.labels),
        progress=_NO_PROGRESS,
        result=None,
        result_file=None,
        artifacts=[],
        error=None,
        provenance={},
        timings_ms={},
        batch_size=None,
        created_at=moment(created_at),
        started_at=None,
        finished_at=None,
        expires_at=None,
        # As the tables hold it: whole milliseconds.
        timeout=None if job.timeout is None else timedelta(milliseconds=milliseconds(job.timeout)),
    )


def job_of(row: Row, *, position: int | None = None) -> Job:
    """Return the job in a row that has `JOB_COLUMNS`."""
    return Job(
        id=row["id"],
        tenant=row["tenant"],
        task=row["task"],
        pool=row["pool"],
        state=JobState(row["state"]),
        version=row["version"],
        attempt=row["attempt"],
        generation=row["generation"],
        priority=Priority(row["priority"]),
        input=loaded(row["input"]),
        labels=loaded(row["labels"]),
        # SQLite's RETURNING gives a whole REAL as an integer.
        progress=Progress(
            fraction=float(row["fraction"]),
            stage=row["stage"],
            message=row["message"],
            preview=row["preview"] or "",
        ),
        result=loaded(row["result"]),
        result_file=row["result_file"],
        artifacts=artifacts_of(row),
        error=_failure_of(row),
        provenance=loaded(row["provenance"]),
        timings_ms=_spans_of(row) | loaded(row["timings_ms"]),
        batch_size=row["batch_size"],
        created_at=moment(row["created_at"]),
        retried_at=_optional_moment(row["retried_at"]),
        started_at=_optional_moment(row["started_at"]),
        finished_at=_optional_moment(row["finished_at"]),
        expires_at=_optional_moment(row["expires_at"]),
        timeout=_optional_length(row["timeout_ms"]),
        position=position,
        cached_from=row["cached_from"],
    )


def claim_of(row: Row) -> Claim:
    """Return the claim in a row that also has `queued_for_ms`."""
    return Claim(
        id=row["id"],
        attempt=row["attempt"],
        tenant=row["tenant"],
        task=row["task"],
        pool=row["pool"],
        input=loaded(row["input"]),
        labels=loaded(row["labels"]),
        alone=bool(row["alone"]),
        priority=Priority(row["priority"]),
        timeout=_optional_length(row["timeout_ms"]),
        cache=bool(row["cache"]),
        request_id=row["request_id"],
        queued_for=timedelta(milliseconds=row["queued_for_ms"]),
    )


def artifacts_of(row: Row) -> list[Artifact]:
    """Return the artifacts that `artifact_row` wrote."""
    return [Artifact(**artifact) for artifact in loaded(row["artifacts"])]


def loaded(value: Any) -> Any:
    """Return JSON as a value, whether the driver parsed it (PostgreSQL's does) or not."""
    return json.loads(value) if isinstance(value, str) else value


def artifact_row(artifact: Artifact) -> Json:
    """Return an artifact as JSON."""
    return asdict(artifact)


def moment(milliseconds_since_1970: int) -> datetime:
    """Return a moment of the tables as an aware datetime, UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds_since_1970)


def storable(words: str) -> str:
    """Return text that both databases can hold: PostgreSQL takes no NUL, UTF-8 no lone surrogates.

    An error's message may quote whatever a library was given.
    """
    return words.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def files_in(value: object) -> Iterator[FileId]:
    """Yield the id in every `{"file": <FileId>}` of an input, however deep."""
    if isinstance(value, Mapping):
        named = value.get("file")
        if isinstance(named, str) and _FILE_ID.fullmatch(named):
            yield FileId(named)
        for child in value.values():
            yield from files_in(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from files_in(child)


def _failure_of(row: Row) -> Failure | None:
    if row["error_code"] is None:
        return None
    return Failure(
        code=row["error_code"], message=row["error_message"], retryable=bool(row["error_retryable"])
    )


def _spans_of(row: Row) -> dict[str, float]:
    """Return what the row's own moments tell, in milliseconds: until the first claim, and until the end."""
    ends = {"queue": row["started_at"], "total": row["finished_at"]}
    began = row["created_at"] if row["retried_at"] is None else row["retried_at"]
    return {name: float(end - began) for name, end in ends.items() if end is not None}


def _optional_moment(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


def _optional_length(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(milliseconds=value)
