"""A row as a value, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping

from shared.jobs import Artifact, Claim, Failure, FileId, Job, JobState, Json, NewJob, Priority, Progress
from shared.store.edge import milliseconds

_FILE_ID = re.compile(r"[0-9a-f]{64}")

#: What the database answered, or what it was given.
Row = RowMapping | Mapping[str, Any]


def row_of(job: NewJob, *, created_at: int, vtime: int, tries: int) -> Json:
    """Return every column of a job that nobody claimed yet."""
    return {
        "id": job.id,
        "tenant": job.tenant,
        "pool": job.pool,
        "task": job.task,
        "state": JobState.QUEUED.value,
        "version": 1,
        "claimable": True,
        "priority": int(job.priority),
        "vtime": vtime,
        "run_after": created_at,
        "attempt": 0,
        "tries_left": tries,
        "alone": False,
        "worker": None,
        "lease_until": None,
        "created_at": created_at,
        "queued_at": created_at,
        "start_by": None if job.start_within is None else created_at + milliseconds(job.start_within),
        "started_at": None,
        "finished_at": None,
        "expires_at": None,
        "timeout_ms": None if job.timeout is None else milliseconds(job.timeout),
        "retain_ms": milliseconds(job.retain),
        "fraction": 0.0,
        "stage": "",
        "message": "",
        "error_code": None,
        "error_message": None,
        "error_retryable": None,
        "batch_size": None,
        "result_file": None,
        "labels": dict(job.labels),
        "timings_ms": {},
        "artifacts": [],
        "provenance": {},
        "input": job.input,
        "result": None,
    }


def job_of(row: Row, *, position: int | None = None) -> Job:
    """Return the job in a row."""
    return Job(
        id=row["id"],
        tenant=row["tenant"],
        task=row["task"],
        pool=row["pool"],
        state=JobState(row["state"]),
        version=row["version"],
        attempt=row["attempt"],
        priority=Priority(row["priority"]),
        input=row["input"],
        labels=row["labels"],
        # SQLite's RETURNING gives a whole REAL as an integer.
        progress=Progress(fraction=float(row["fraction"]), stage=row["stage"], message=row["message"]),
        result=row["result"],
        result_file=row["result_file"],
        artifacts=artifacts_of(row),
        error=_failure_of(row),
        provenance=row["provenance"],
        timings_ms=_spans_of(row) | row["timings_ms"],
        batch_size=row["batch_size"],
        created_at=moment(row["created_at"]),
        started_at=_optional_moment(row["started_at"]),
        finished_at=_optional_moment(row["finished_at"]),
        expires_at=_optional_moment(row["expires_at"]),
        timeout=_optional_length(row["timeout_ms"]),
        position=position,
    )


def claim_of(row: Row) -> Claim:
    """Return the claim in a row that also has `queued_for_ms`."""
    return Claim(
        id=row["id"],
        attempt=row["attempt"],
        tenant=row["tenant"],
        task=row["task"],
        pool=row["pool"],
        input=row["input"],
        labels=row["labels"],
        alone=row["alone"],
        timeout=_optional_length(row["timeout_ms"]),
        queued_for=timedelta(milliseconds=row["queued_for_ms"]),
    )


def artifacts_of(row: Row) -> list[Artifact]:
    """Return the artifacts that `artifact_row` wrote."""
    return [Artifact(**artifact) for artifact in row["artifacts"]]


def artifact_row(artifact: Artifact) -> Json:
    """Return an artifact as JSON."""
    return asdict(artifact)


def moment(milliseconds_since_1970: int) -> datetime:
    """Return a moment of the tables as an aware datetime, UTC."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds_since_1970)


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
    return Failure(code=row["error_code"], message=row["error_message"], retryable=row["error_retryable"])


def _spans_of(row: Row) -> dict[str, float]:
    """Return what the row's own moments tell, in milliseconds: until the first claim, and until the end."""
    ends = {"queue": row["started_at"], "total": row["finished_at"]}
    return {name: float(end - row["created_at"]) for name, end in ends.items() if end is not None}


def _optional_moment(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


def _optional_length(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(milliseconds=value)
