"""The job: its states, its moves, and the values that both sides hand to the store."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any, NewType

JobId = NewType("JobId", str)
#: Whoever owns jobs, files and heads; `LOCAL` when the service runs without keys.
TenantId = NewType("TenantId", str)
#: SHA-256 of the content, 64 lower-case hex digits.
FileId = NewType("FileId", str)
#: One worker process, for as long as it lives.
WorkerId = NewType("WorkerId", str)

LOCAL = TenantId("local")
DEFAULT_POOL = "default"

#: A JSON value that is an object.
Json = dict[str, Any]


class JobState(StrEnum):
    """Where a job stands. Terminal states are final: only its user's `retry` begins it anew, once more."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return not MOVES[self]


#: Every move a job may make within a generation. A requeue after a crash is a move inside `RUNNING`: for the
#: user the state never goes back, so a job that waits for its next attempt stays `running` (its row has no
#: lease). A retry is no move: it begins the next generation, which is `QUEUED` again.
MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELED, JobState.EXPIRED}),
    # Canceled at once while it waits for its next attempt: there is no worker to ask.
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELING, JobState.CANCELED}),
    JobState.CANCELING: frozenset({JobState.CANCELED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELED: frozenset(),
    JobState.EXPIRED: frozenset(),
}

#: States from which a retry begins another generation: what succeeded has its result.
RETRYABLE = frozenset({JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})


class Priority(IntEnum):
    """Smaller is claimed first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class NewFile:
    """An upload whose bytes are in the blob store already."""

    id: FileId
    tenant: TenantId = LOCAL
    media_type: str
    bytes: int
    #: Pixels; None for what is no picture.
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """Whom to tell of a job's end."""

    url: str
    #: States whose coming is told; terminal ones.
    events: Sequence[JobState] = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Idempotency:
    """By what a submit that comes again is known."""

    #: The caller's `Idempotency-Key`; its tenant's own.
    key: str
    #: SHA-256 of what is submitted, 64 hex digits: the same key with another one is refused.
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NewJob:
    """What a submit asks the store to create."""

    id: JobId
    tenant: TenantId = LOCAL
    task: str
    #: Canonical input: the task's schema, every image a `{"file": <FileId>}`.
    input: Json
    pool: str = DEFAULT_POOL
    priority: Priority = Priority.NORMAL
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Missed, the job expires.
    start_within: timedelta | None = None
    #: Running longer than this, the job fails with `timeout`.
    timeout: timedelta | None = None
    #: How long the ended job is kept.
    retain: timedelta = timedelta(days=7)
    #: Its result may answer later jobs of the same tenant.
    cache: bool = False
    #: Bytes of the input and of the files that it names: what the job weighs while it waits.
    input_bytes: int = 0
    #: Whom to tell of its end.
    webhook: Webhook | None = None
    #: A submit with the same key is the same submit.
    idempotency: Idempotency | None = None
    #: A succeeded job of the same tenant whose result answers this one at once; gone by then, it is queued.
    answered_by: JobId | None = None
    #: The request that submitted it, for the logs.
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One attempt at one job, owned by one worker until its lease ends.

    `(id, attempt)` is the fence: every later write names both.
    """

    id: JobId
    attempt: int
    tenant: TenantId
    task: str
    pool: str
    input: Json
    labels: Mapping[str, str]
    #: A former attempt ended in a crash: run it in a batch of one, with nothing else on the device.
    alone: bool
    timeout: timedelta | None
    priority: Priority = Priority.NORMAL
    #: Its result may answer later jobs: settle it with a `cache_key`.
    cache: bool = False
    #: The request that submitted it, for the logs.
    request_id: str | None = None
    #: From submit to the first claim, or from the requeue to this one.
    queued_for: timedelta


#: Of `Progress.preview`: it is written with a heartbeat and read with each poll.
MOST_PREVIEW_CHARS = 16 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a running job is."""

    #: In [0, 1], never falling within an attempt.
    fraction: float = 0.0
    #: `decode`, `extract`, `convert`, `fuse` or `output`; empty before the first.
    stage: str = ""
    message: str = ""
    #: What it looks like so far: a small picture as a `data:` URI, at most `MOST_PREVIEW_CHARS`; or empty.
    preview: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A file that a job made."""

    name: str
    file: FileId
    media_type: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """What a worker settles a job with."""

    #: The task's result; None when `result_file` holds it instead.
    result: Json | None
    #: The blob that holds the result instead, when it is too large for the row: then `result` is not stored.
    result_file: FileId | None = None
    artifacts: Sequence[Artifact] = ()
    #: Profile, models (id, revision or sha256, grade), device, dtype.
    provenance: Json = field(default_factory=dict)
    #: Milliseconds by name: `decode`, each stage, `model`.
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    #: The largest batch that any of its model calls ran in.
    batch_size: int = 1
    #: What `shared.caching.result_key` made of it, where the job allows its result to answer others.
    cache_key: str | None = None
    #: Of the result in `result_file`.
    result_bytes: int = 0

    @property
    def files(self) -> list[FileId]:
        """Return the blobs that the attempt made."""
        results = [] if self.result_file is None else [self.result_file]
        return [*results, *(artifact.file for artifact in self.artifacts)]

    @property
    def stored_bytes(self) -> int:
        """Return what those weigh."""
        return self.result_bytes + sum(artifact.bytes for artifact in self.artifacts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why an attempt, or the job, failed."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job as the store knows it. Times are aware, UTC.

    Within a generation its state follows `MOVES` and a terminal one is final; `version` and `attempt` grow
    through all generations.
    """

    id: JobId
    tenant: TenantId
    task: str
    pool: str
    state: JobState
    #: Grows by at least one with every visible change, never falls: an ETag.
    version: int
    attempt: int
    #: How often its user had it run; 1 until the first retry.
    generation: int = 1
    priority: Priority
    input: Json
    labels: Mapping[str, str]
    progress: Progress
    #: None until succeeded, and when `result_file` holds it instead.
    result: Json | None
    #: The blob that holds a result too large for the row.
    result_file: FileId | None
    artifacts: Sequence[Artifact]
    error: Failure | None
    provenance: Json
    timings_ms: Mapping[str, float]
    batch_size: int | None
    created_at: datetime
    #: When its present generation was asked for; None for the first.
    retried_at: datetime | None = None
    started_at: datetime | None
    finished_at: datetime | None
    #: When the ended job will be purged.
    expires_at: datetime | None
    timeout: timedelta | None
    #: Jobs of its pool that will be claimed before it; None unless queued.
    position: int | None = None
    #: The job whose stored result answered this one at submit.
    cached_from: JobId | None = None


def new_job_id() -> JobId:
    """Return an id whose order in time is its order as text (as UUID version 7 does, RFC 9562).

    48 bits of milliseconds keep inserts at the end of the index however many rows there are; 80 bits of
    randomness keep it unguessable.
    """
    milliseconds = time.time_ns() // 1_000_000
    return JobId(f"job_{milliseconds:012x}{os.urandom(10).hex()}")
