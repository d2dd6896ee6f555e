"""Routes of jobs: submit, poll, list, cancel, retry, fetch what they made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import Annotated, Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from api import snapshots
from api.auth import recheck, tenant
from api.bodies import read_submit
from api.connections import line_of
from api.documents import answer, downloads
from api.downloads import send
from api.errors import answered, pointer, refusal, request_id
from api.idempotency import REPLAYED, key_of
from api.limits import DEFAULT_PAGE, LARGEST_PAGE
from api.services import services
from api.submissions import Accepted, submit
from shared.errors import NotFound, Problem, every_error
from shared.jobs import Artifact, Job, JobId, JobState

routes = APIBlueprint("jobs", __name__, abp_tags=[Tag(name="Jobs", description="Submit, poll, list, cancel")])

#: Seconds after which a look at an unfinished job is worth it.
_POLL_S = 1
_LABEL = "label."
#: RFC 7240. Digits are capped so that no number is too long to read.
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")

_PlainText = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


class JobPath(BaseModel):
    job_id: str = Field(description="The id that the submit answered.")


class ArtifactPath(JobPath):
    name: str = Field(description="The artifact's name, as the job lists it.")


class _Query(BaseModel):
    @classmethod
    @cache
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]  # cached
        # flask-openapi3 asks for it with every request.
        return super().model_json_schema(*args, **options)


class GetQuery(_Query):
    model_config = ConfigDict(extra="forbid")

    wait: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds to wait for its end, at most 60; with `If-None-Match`: for a change.",
    )


def _rfc3339(text: object) -> object:
    # Pydantic takes numbers too, as seconds since 1970.
    if isinstance(text, str) and not _RFC3339.fullmatch(text):
        raise ValueError("must be a time of RFC 3339, with an offset from UTC: 2026-01-01T12:00:00Z")
    return text


def _states(texts: list[str]) -> list[str]:
    states = [state for text in texts for state in text.split(",")]
    for state in states:
        if state not in set(JobState):
            raise ValueError(f"there is no status {state[:100]!r}; there are {', '.join(JobState)}")
    return states


def _one_or_more(words: Iterable[str]) -> str:
    """Return the pattern of words with commas between them."""
    one = f"({'|'.join(words)})"
    return f"^{one}(,{one})*$"


def _codes() -> list[str]:
    return sorted({kind.code for kind in every_error()})


def _code(text: str) -> str:
    if text not in (codes := _codes()):
        raise ValueError(f"there is no error code {text[:100]!r}; there are {', '.join(codes)}")
    return text


_StateText = Annotated[str, WithJsonSchema({"type": "string", "pattern": _one_or_more(JobState)})]
_CodeText = Annotated[str, AfterValidator(_code), WithJsonSchema({"type": "string", "enum": _codes()})]


class RetryQuery(_Query):
    model_config = ConfigDict(extra="forbid")

    generation: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Only if this is its generation: a retry that is asked for twice happens once.",
    )


class ListQuery(_Query):
    """Every other parameter must be a label filter, `label.<name>=<text>`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _PlainText]

    status: Annotated[list[_StateText], AfterValidator(_states)] = Field(
        default_factory=list, description="One state or several, repeated or with commas."
    )
    error: _CodeText | None = Field(
        default=None,
        description="Jobs that failed with this code: `attempts_exhausted`, when no attempt was left.",
    )
    task: Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9_-]*$")] = Field(
        default="", description="Jobs of this task only."
    )
    created_after: Annotated[AwareDatetime, BeforeValidator(_rfc3339)] | None = Field(
        default=None, description="RFC 3339, with an offset from UTC."
    )
    page_size: int = Field(
        default=DEFAULT_PAGE, ge=1, description=f"A size over {LARGEST_PAGE} means {LARGEST_PAGE}."
    )
    page_token: Annotated[str, StringConstraints(max_length=512, pattern=r"^[!-~]*$")] = Field(
        default="", description="`next_page_token` of the page before."
    )

    def label_filters(self) -> dict[str, str]:
        """Return the wanted labels; raises `InvalidRequest` for a parameter that is none."""
        others = self.model_extra or {}
        strays = [
            Problem(pointer((name,)), "unknown parameter") for name in others if not name.startswith(_LABEL)
        ]
        if strays:
            raise refusal(strays)
        return {name.removeprefix(_LABEL): text for name, text in others.items()}


@routes.post(
    "/v1/jobs",
    operation_id="create_job",
    responses={
        200: answer(
            "Ended in time, or answered by an earlier job, or the same submit came before.",
            "Job",
            Location="The job.",
            Idempotent_Replayed="`true`: the same submit came before, and this is its job.",
            Preference_Applied="The wait granted, when one was asked for.",
        ),
        202: answer(
            "Accepted: the job is stored, whatever happens next.",
            "Job",
            Location="The job.",
            Retry_After="Seconds after which to look.",
            Preference_Applied="The wait granted, when one was asked for.",
        ),
        **answered(
            [
                "malformed_body", "body_too_large", "file_too_large", "unsupported_media_type",
                "invalid_request", "idempotency_key_reused", "unknown_task", "unknown_head",
                "not_offered", "webhook_refused", "url_refused", "file_not_found", "image_not_recognized",
                "image_format_forbidden", "image_too_large", "video_not_recognized",
                "video_format_forbidden", "storage_quota_exceeded", "too_many_jobs", "overloaded",
                "store_unavailable", "blobs_unavailable", "database_full", "blobs_full",
            ]
        ),
    },
)  # fmt: skip
def create_job() -> Response:
    """Submit a job; `Prefer: wait=N` waits up to N seconds for its end."""
    house = services()
    house.admit(tenant(), request.content_length)
    key = key_of(request)
    house.quotas.take_jobs(tenant(), 1)
    return _accepted(submit(read_submit(request, house.settings.limits), tenant(), house, key))


@routes.get(
    "/v1/jobs/<job:job_id>",
    operation_id="get_job",
    responses={
        200: answer(
            "The job as it is now.", "Job", ETag="Its version.", Retry_After="While it is not terminal."
        ),
        304: {"description": "Its version is still the one in `If-None-Match`."},
        **answered(["invalid_request", "not_found", "store_unavailable", "blobs_unavailable"]),
    },
)
def get_job(path: JobPath, query: GetQuery) -> Response:
    """Poll a job, or wait for it."""
    return _polled(_current(JobId(path.job_id), query.wait))


@routes.get(
    "/v1/jobs",
    operation_id="list_jobs",
    description="Further filters: `label.<name>=<text>`, one per label.",
    responses={
        200: answer("One page.", "JobPage"),
        **answered(["invalid_request", "store_unavailable"]),
    },
)
def list_jobs(query: ListQuery) -> Response:
    """List jobs, newest first, without their results."""
    found, next_page = services().store.list(
        tenant(),
        states=[JobState(state) for state in query.status],
        error=query.error,
        task=query.task or None,
        labels=query.label_filters(),
        created_after=query.created_after,
        page_size=min(query.page_size, LARGEST_PAGE),
        after=query.page_token or None,
    )
    return _json(snapshots.listing(found, next_page))


@routes.post(
    "/v1/jobs/<job:job_id>/cancel",
    operation_id="cancel_job",
    responses={
        200: answer("The job: `canceled`, or `canceling` until its worker stops, or ended before.", "Job"),
        **answered(["not_found", "store_unavailable", "blobs_unavailable"]),
    },
)
def cancel_job(path: JobPath) -> Response:
    """Cancel a job; cancelling it again changes nothing."""
    return _job(services().store.cancel(tenant(), JobId(path.job_id)))


@routes.post(
    "/v1/jobs/<job:job_id>/retry",
    operation_id="retry_job",
    responses={
        200: answer("The job as it stays: it succeeded, or another generation of it has ended.", "Job"),
        202: answer(
            "The job, queued once more under a new generation, or under way already.",
            "Job",
            Location="The job.",
            Retry_After="Seconds after which to look.",
        ),
        **answered(
            [
                "invalid_request", "not_found", "too_many_jobs", "overloaded", "store_unavailable",
                "blobs_unavailable",
            ]
        ),
    },
)  # fmt: skip
def retry_job(path: JobPath, query: RetryQuery) -> Response:
    """Have a job run again that failed, was canceled or expired."""
    house = services()
    house.quotas.take_jobs(tenant(), 1)
    house.admission.check(tenant())
    job = house.store.retry(tenant(), JobId(path.job_id), query.generation)
    if job.state is JobState.QUEUED:
        house.hints.send(job.pool, [job.id], request_id())
    return _under_way(job)


@routes.delete(
    "/v1/jobs/<job:job_id>",
    operation_id="delete_job",
    description=(
        "In any state: one that runs is stopped, and nothing of it is kept. Its files go within two hours, "
        "unless another job or an upload of yours is the same. Webhooks are not told."
    ),
    responses={
        204: {"description": "It is gone; from now on its id is unknown."},
        **answered(["not_found", "store_unavailable"]),
    },
)
def delete_job(path: JobPath) -> Response:
    """Delete a job with its input and its result."""
    services().store.delete(tenant(), JobId(path.job_id))
    return Response(status=204)


@routes.get(
    "/v1/jobs/<job:job_id>/artifacts/<name>",
    operation_id="get_artifact",
    responses={
        200: downloads("The bytes.", "*/*"),
        206: downloads("The range asked for.", "*/*"),
        304: {"description": "The bytes you have are the bytes."},
        **answered(["not_found", "range_not_satisfiable", "store_unavailable", "blobs_unavailable"]),
    },
)
def get_artifact(path: ArtifactPath) -> Response:
    """Return a file that a job made."""
    found = _artifact(services().store.get(tenant(), JobId(path.job_id)), path.name)
    return send(found.file, found.media_type, found.name, services())


def _current(job_id: JobId, wait_s: float) -> Job:
    """Return the job, after waiting for news when there is none yet.

    News is the job's end; for a caller who names the version it has (`If-None-Match`), any other version.
    """
    house = services()
    job = house.store.get(tenant(), job_id, with_position=True)
    timeout = min(timedelta(seconds=min(wait_s, 1e6)), house.settings.api_max_wait)
    if not timeout or job.state.is_terminal:
        return job
    if request.if_none_match and not _is_known(job):
        return job
    news = house.watcher.wait(
        job_id,
        timeout,
        known=job.version if _is_known(job) else None,
        owner=job.tenant,
        line=line_of(request),
    )
    recheck()()
    if news is not None and news.state is not JobState.QUEUED:
        return news
    return house.store.get(tenant(), job_id, with_position=True)


def _polled(job: Job) -> Response:
    response = _json(b"", status=304) if _is_known(job) else _job(job)
    response.set_etag(str(job.version), weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    if not job.state.is_terminal:
        response.headers["Retry-After"] = str(_POLL_S)
    return response


def _accepted(accepted: Accepted) -> Response:
    """Answer a submit; by now the job is committed."""
    job = accepted.job
    asked = _PREFER_WAIT.search(",".join(request.headers.getlist("Prefer")))
    if asked:
        granted = min(timedelta(seconds=int(asked[1])), services().settings.api_max_wait)
        job = _awaited(job, granted)
    response = _under_way(job)
    if asked:
        response.headers["Preference-Applied"] = f"wait={int(granted.total_seconds())}"
    if accepted.is_replay:
        response.status_code = 200
        response.headers[REPLAYED] = "true"
    return response


def _under_way(job: Job) -> Response:
    """Answer a job that somebody wants done."""
    response = _job(job)
    response.headers["Location"] = snapshots.href(job)
    if not job.state.is_terminal:
        response.status_code = 202
        response.headers["Retry-After"] = str(_POLL_S)
    return response


def _awaited(job: Job, timeout: timedelta) -> Job:
    """Return a new job when it has ended, or as it is when the time is up."""
    if job.state.is_terminal or not timeout:
        return job
    house = services()
    return house.watcher.wait(job.id, timeout, owner=job.tenant, line=line_of(request)) or house.store.get(
        job.tenant, job.id
    )


def _is_known(job: Job) -> bool:
    """Return whether the caller has this version; the position in the queue is not part of it."""
    return request.if_none_match.contains_weak(str(job.version))


def _artifact(job: Job, name: str) -> Artifact:
    for artifact in job.artifacts:
        if artifact.name == name:
            return artifact
    raise NotFound(f"the job has no artifact {name[:100]!r}")


def _job(job: Job) -> Response:
    house = services()
    return _json(snapshots.whole(job, house.blobs, eta_s=house.eta_s(job)))


def _json(body: bytes, *, status: int = 200) -> Response:
    return Response(body, status=status, content_type="application/json")
