"""What the service answers, as values.

A newer service may say more than these name: unknown fields are kept (`model_extra`), not refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

#: States that a job does not leave, unless it is retried.
TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


class Value(BaseModel):
    """Something the service says."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def to_json(self) -> dict[str, Any]:
        """Return the value as the service sent it, and what it left out as null."""
        return self.model_dump(mode="json")


class Problem(Value):
    """One fault in a request."""

    #: JSON pointer to the value at fault; "" is the whole body.
    pointer: str = ""
    message: str = Field(default="", validation_alias=AliasChoices("message", "detail"))
    code: str = ""

    def __str__(self) -> str:
        return f"{self.message} (at {self.pointer})" if self.pointer else self.message


class Progress(Value):
    #: In [0, 1].
    fraction: float = 0.0
    stage: str = ""
    message: str = ""
    #: What it looks like so far: a small picture as a `data:` URI; None: nothing to see yet.
    preview: str | None = None


class Place(Value):
    """Where a queued job stands."""

    #: Jobs that will be claimed before it.
    position: int | None = None
    #: Seconds until it will be claimed, by the rate at which its pool works; None: not known yet.
    eta_s: float | None = None


class JobError(Value):
    code: str
    message: str
    retryable: bool = False


class Artifact(Value):
    name: str
    media_type: str = "application/octet-stream"
    bytes: int = 0
    #: Path or URL of the content.
    href: str = ""


class Job(Value):
    """A job as it stood when the service answered."""

    id: str
    task: str
    status: str
    version: int
    #: How often a worker took it.
    attempt: int = 0
    #: How often it was asked for: 1, and 1 more with each retry.
    generation: int = 1
    progress: Progress = Progress()
    queue: Place | None = None
    result: dict[str, Any] | None = None
    error: JobError | None = None
    artifacts: tuple[Artifact, ...] = ()
    #: Profile, models (id, revision, grade), device, dtype.
    provenance: dict[str, Any] | None = None
    #: Milliseconds by name; all of them once the job has ended.
    timings_ms: dict[str, float | None] | None = None
    batch: dict[str, Any] | None = None
    labels: dict[str, str] = {}
    created_at: datetime | None = None
    #: When its present generation was asked for; None: it was never retried.
    retried_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    #: The job whose stored result answered this one at submit.
    cached_from: str | None = None
    #: Paths by what is behind them: `self`, `cancel`, `events`.
    links: dict[str, str] = {}

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"


class Page(Value):
    """One page of jobs, newest first."""

    jobs: tuple[Job, ...]
    #: Ask for the next page with it; empty at the end.
    next_page_token: str | None = None

    def __iter__(self) -> Iterator[Job]:  # type: ignore[override]  # a page iterates its jobs, not its fields
        return iter(self.jobs)


class Task(Value):
    """One kind of job, from the catalogue."""

    name: str
    summary: str = ""
    #: Whether a worker is ready that has the models; else why not.
    available: bool = True
    unavailable_because: str | None = None
    #: What the ready workers answer with: capability, id, revision, grade.
    models: tuple[dict[str, Any], ...] = ()
    #: JSON Schema of the input and of the result.
    input_schema: dict[str, Any] = {}
    result_schema: dict[str, Any] = {}
    #: A runnable input, its pictures as parts of a multipart request.
    example: dict[str, Any] | None = None


class File(Value):
    """A stored file."""

    #: SHA-256 of its content.
    id: str
    media_type: str = ""
    bytes: int = 0
    width: int | None = None
    height: int | None = None


class Health(Value):
    """Whether the service can take and do work."""

    status: str
    #: `database`, `queue` and the number of ready `workers`.
    checks: dict[str, Any] = {}

    @property
    def ready_workers(self) -> int:
        """Return how many workers are ready; 0 where the service does not say."""
        count = self.checks.get("workers", 0)
        return count if isinstance(count, int) else 0


class Worker(Value):
    """A worker process that is ready, as it announces itself."""

    host: str = ""
    pid: int = 0
    device: str = ""
    profile: str = ""
    pools: tuple[str, ...] = ()
    #: Jobs that it runs at once.
    slots: int = 0
    #: Why it lacks a model, by capability.
    missing: dict[str, str] = {}
    #: Resident memory of the process.
    memory_bytes: int | None = None
    #: The models that it knows of: `capability`, `id`, `bytes`, `resident` and more.
    models: tuple[dict[str, Any], ...] = ()
    #: Items that its models have answered.
    items: int | None = None
    #: How many batches it answered, by operation and size.
    batches: dict[str, dict[str, int]] = {}


class System(Value):
    """What the service runs on, and how much waits."""

    workers: tuple[Worker, ...] = ()
    #: Queued jobs by pool; counting stops somewhere.
    backlog: dict[str, int] = {}
    #: What an autoscaler reads.
    scaling: dict[str, Any] = {}


class Webhook(BaseModel):
    """Whom to tell of a job's end, where the service does that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    #: `job.succeeded`, `job.failed`, `job.canceled`, `job.expired`; None: all of them.
    events: Sequence[str] | None = None


class WebhookEndpoint(Value):
    """Whom the service tells of the ends of all of a tenant's jobs."""

    #: `wh_...`.
    id: str
    url: str
    #: Those that it is told: `job.succeeded`, `job.failed`, `job.canceled`, `job.expired`.
    events: tuple[str, ...] = ()
    description: str | None = None
    enabled: bool = True
    #: Why the service tells it no more; None: it does, or its owner said so.
    disabled_because: str | None = None
    created_at: datetime | None = None
    #: When its secret was last changed; for a day after that messages carry both signatures.
    rotated_at: datetime | None = None
    #: `whsec_...`, with which messages are verified; told where it was made, and by `secret`.
    secret: str | None = Field(default=None, repr=False)
    links: dict[str, str] = {}


class DeliveryTry(Value):
    """One try to tell a webhook."""

    at: datetime | None = None
    #: The HTTP status that it answered; None: it did not.
    status: int | None = None
    error: str | None = None
    ms: float | None = None


class Delivery(Value):
    """One message to a webhook, and how that went."""

    id: str
    event: str = ""
    #: `pending`, `delivered`, or why not.
    status: str = ""
    created_at: datetime | None = None
    #: When it is tried next; None: never again.
    next_at: datetime | None = None
    ended_at: datetime | None = None
    tries: tuple[DeliveryTry, ...] = ()


class DeliveryPage(Value):
    """One page of deliveries, newest first."""

    deliveries: tuple[Delivery, ...] = ()
    next_page_token: str | None = None


class Options(BaseModel):
    """How a job is treated, whatever its task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    priority: Literal["high", "normal", "low"] | None = None
    #: Missed, the job expires.
    start_within_s: float | None = None
    #: Running longer, the job fails with `timeout`.
    timeout_s: float | None = None
    #: How long the ended job is kept.
    retain_s: float | None = None
    #: Your own names for it, to find it again.
    labels: Mapping[str, str] | None = None
    #: Equal work of yours that was allowed it too answers at once, and this job may answer later ones.
    cache: bool | None = None
    #: Told by a POST when the job has ended.
    webhook: Webhook | None = None
