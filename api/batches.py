"""Routes of many jobs at once: submit them in one transaction, ask for them in one query."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from api import snapshots
from api.auth import recheck, tenant
from api.bodies import BatchBody, read_batch, read_json
from api.connections import line_of
from api.documents import answer
from api.errors import answered, indented, problem_document, refusal
from api.idempotency import key_of, member_key
from api.limits import LARGEST_BATCH
from api.references import Desk, named_parts, unnamed
from api.services import Services, services
from api.submissions import Accepted, Draft, Wanted, accept, draft, read_wanted
from shared.errors import InvalidRequest
from shared.jobs import Job, JobId, TenantId

routes = APIBlueprint("batches", __name__, abp_tags=[Tag(name="Batches", description="Many jobs at once")])


@routes.post(
    "/v1/jobs:batch",
    operation_id="create_jobs",
    description=(
        f"Up to {LARGEST_BATCH:,} submits, stored in one transaction. One that cannot be accepted hurts no "
        "other; the pointers of its problem begin with its place in the array. When so much waits that not "
        "all the good ones fit, none is accepted (429 or 503): send them again after `Retry-After`. "
        "With an `Idempotency-Key`, the same array sent again is answered with the same jobs."
    ),
    responses={
        207: answer("For each submit, in order, its job or its problem.", "JobBatchAnswer"),
        **answered(
            [
                "malformed_body", "body_too_large", "unsupported_media_type", "invalid_request",
                "idempotency_key_reused", "storage_quota_exceeded", "too_many_jobs", "overloaded",
                "store_unavailable", "blobs_unavailable", "database_full", "blobs_full",
            ]
        ),
    },
)  # fmt: skip
def create_jobs() -> Response:
    """Submit many jobs."""
    house = services()
    house.admit(tenant(), request.content_length)
    key = key_of(request)
    body = read_batch(request, house.settings.limits)
    house.quotas.take_jobs(tenant(), len(body.values))
    outcomes = _submit_all(body, tenant(), house, key)
    answers = b'{"jobs":[' + b",".join(outcomes) + b"]}"
    return Response(answers, status=HTTPStatus.MULTI_STATUS, content_type="application/json")


@routes.post(
    "/v1/jobs:get",
    operation_id="get_jobs",
    description=f"Up to {LARGEST_BATCH:,} jobs; a wait takes one seat of the server, however many they are.",
    responses={
        200: answer("The jobs in the order of `ids`, null in place of an unknown one.", "JobsAnswer"),
        **answered(
            [
                "malformed_body", "body_too_large", "unsupported_media_type", "invalid_request",
                "not_found", "store_unavailable", "blobs_unavailable",
            ]
        ),
    },
)  # fmt: skip
def get_jobs() -> Response:
    """Get many jobs with their results, once all have ended or the wait is over."""
    house = services()
    wanted = read_wanted(read_json(request, house.settings.limits, widest=LARGEST_BATCH))
    found = _current(wanted, tenant(), house)
    chunks, size = snapshots.several([found.get(JobId(job_id)) for job_id in wanted.ids], house.blobs)
    return Response(chunks, content_type="application/json", headers={"Content-Length": str(size)})


def _current(wanted: Wanted, owner: TenantId, house: Services) -> dict[JobId, Job]:
    """Return those jobs that the owner has, after waiting for the end of all of them."""
    found = house.store.many([JobId(job_id) for job_id in wanted.ids], owner)
    pending = [job_id for job_id, job in found.items() if not job.state.is_terminal]
    timeout = min(timedelta(seconds=wanted.wait_s), house.settings.api_max_wait)
    if not pending or not timeout:
        return found
    house.watcher.wait_for_all(pending, timeout, owner=owner, line=line_of(request))
    recheck()()
    ended = {job_id: job for job_id, job in found.items() if job.state.is_terminal}
    return ended | house.store.many(pending, owner)


def _submit_all(body: BatchBody, owner: TenantId, house: Services, key: str | None) -> list[bytes]:
    """Return what became of each submit, as JSON; those without a fault are stored together."""
    if body.parts:
        _require_named(body)
    desk = Desk(body.parts, owner, house)
    drafts = [
        _draft(value, desk, owner, house, member_key(key, place)) for place, value in enumerate(body.values)
    ]
    accepted = iter(accept([made for made in drafts if isinstance(made, Draft)], owner, house))
    return [
        _outcome(next(accepted), house) if isinstance(made, Draft) else _problem(made, place)
        for place, made in enumerate(drafts)
    ]


def _require_named(body: BatchBody) -> None:
    # What a submit that is no sane JSON names is unknown.
    if any(isinstance(value, InvalidRequest) for value in body.values):
        return
    if strays := unnamed(body.parts, named_parts(body.values)):
        raise refusal(strays)


def _draft(
    value: Any, desk: Desk, owner: TenantId, house: Services, key: str | None
) -> Draft | InvalidRequest:
    if isinstance(value, InvalidRequest):
        return value
    try:
        return replace(draft(value, desk, owner, house), key=key)
    except InvalidRequest as error:
        return error


def _outcome(accepted: Accepted, house: Services) -> bytes:
    return snapshots.accepted(accepted.job, house.blobs, is_replay=accepted.is_replay)


def _problem(error: InvalidRequest, place: int) -> bytes:
    problem = problem_document(error.code, error.message, indented(error.problems, place))
    return snapshots.refused(problem)
