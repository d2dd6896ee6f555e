"""What the service answers, for the OpenAPI document and the tests; the routes write JSON directly."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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


class JobQueue(Answer):
    position: int | None = Field(description="Jobs to be claimed before it; null: not counted.")
    eta_s: float | None


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


class JobSummary(Answer):
    """A job without its result."""

    id: str
    task: str
    status: _States
    version: int = Field(description="Grows with every visible change.")
    attempt: int
    priority: Literal["high", "normal", "low"]
    progress: JobProgress
    queue: JobQueue | None = Field(description="Null unless queued.")
    error: JobError | None
    artifacts: list[JobArtifact]
    provenance: dict[str, Any] | None = Field(description="Profile, models, device, dtype of the result.")
    timings_ms: dict[str, float]
    batch: JobBatch | None
    labels: dict[str, str]
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None = Field(description="When the ended job will be deleted.")
    links: JobLinks


class Job(JobSummary):
    """A job."""

    result: Any = Field(description="The task's result once `succeeded`, else null.")


class JobPage(Answer):
    jobs: list[JobSummary]
    next_page_token: str | None = Field(description="The `page_token` of the next page; null: none.")


class FileLinks(Answer):
    self: str
    content: str


class File(Answer):
    id: str = Field(description="SHA-256 of the content.")
    media_type: str
    bytes: int
    width: int | None
    height: int | None
    created_at: str | None
    links: FileLinks


class TaskModel(Answer):
    capability: str
    id: str
    revision: str
    grade: str = Field(description="`starter` models are small and weak; `full` ones are the best open ones.")


class Task(Answer):
    name: str
    summary: str
    needs: list[str] = Field(description="The capabilities that a worker must have.")
    models: list[TaskModel] = Field(description="What the ready workers answer with; none ready, none named.")
    timeout_s: float
    limits: dict[str, int]
    example: dict[str, Any] = Field(description="A runnable `input`; its parts are multipart files.")
    input_schema: dict[str, Any]
    result_schema: dict[str, Any]


class Catalogue(Answer):
    tasks: list[Task]


class Checks(Answer):
    database: Literal["ok"]
    queue: Literal["ok", "down"]
    workers: int


class Readiness(Answer):
    status: Literal["ok", "degraded"]
    checks: Checks


class Liveness(Answer):
    status: Literal["ok"]
