"""From a body to a job: everything is checked before anything is written."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from api.bodies import Body
from api.errors import pointer, refusal, request_id
from api.hooks import Hook, refused, webhook_of
from api.idempotency import fingerprint
from api.limits import LARGEST_BATCH, LONGEST_WAIT_S
from api.references import (
    Desk,
    Found,
    Path,
    Remote,
    Stored,
    Upload,
    named_parts,
    store_uploads,
    unnamed,
    weight,
)
from api.services import Services
from shared.errors import InvalidRequest, NotOffered, Problem, UnknownHead, UnknownTask
from shared.failpoints import Failpoint
from shared.jobs import (
    FileId,
    Idempotency,
    Job,
    JobId,
    JobState,
    Json,
    NewJob,
    Priority,
    TenantId,
    new_job_id,
)
from shared.schemas import catalogue
from shared.schemas.base import FileRef, Frozen, TaskInput, check_limits
from shared.settings import Limits

_DAY_S = 86_400
_FAULTS = 100
#: Plainer than pydantic's own.
_WORDS = {"extra_forbidden": "unknown field; remove it", "missing": "this field is required"}

_LABEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"
_LABEL_CHARS = 200
LabelName = Annotated[str, StringConstraints(pattern=_LABEL_NAME)]
LabelText = Annotated[str, StringConstraints(max_length=_LABEL_CHARS)]
#: Pydantic's own schema has `patternProperties`, which lets every other name pass and which generators skip.
Labels = Annotated[
    dict[LabelName, LabelText],
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 32,
            "propertyNames": {"pattern": _LABEL_NAME},
            "additionalProperties": {"type": "string", "maxLength": _LABEL_CHARS},
        }
    ),
]


class Submission(Frozen):
    """The body of a submit; `input` is narrowed per task."""

    task: str
    input: Any
    priority: Literal["high", "normal", "low"] = Field(
        default="normal", description="Claimed before jobs of a lower priority, whoever came first."
    )
    start_within_s: float | None = Field(
        default=None, ge=0.001, le=7 * _DAY_S, description="Not started within this time, the job expires."
    )
    timeout_s: float | None = Field(
        default=None,
        ge=0.001,
        le=_DAY_S,
        description="Running longer, the job fails; default: the task's own.",
    )
    retain_s: float | None = Field(
        default=None, ge=0.001, le=365 * _DAY_S, description="How long the ended job and its result are kept."
    )
    labels: Labels = Field(
        default_factory=dict,
        max_length=32,
        description="To find jobs by: `GET /v1/jobs?label.album=summer`.",
    )
    webhook: Hook | None = Field(default=None, description="Whom to tell when the job has ended.")
    cache: bool = Field(
        default=False,
        description=(
            "Answer from an earlier succeeded job of yours with the same task, input and models that allowed "
            "it too, if there is one. Without effect where the input names a URL."
        ),
    )


class Wanted(Frozen):
    """The body that asks for many jobs."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ids": ["job_019a7c2f0d144bd8a1c2e9d07f3b5a68"], "wait_s": 20}]}
    )

    ids: list[Annotated[str, StringConstraints(max_length=100)]] = Field(
        min_length=1, max_length=LARGEST_BATCH, description="In the order of the answer."
    )
    wait_s: float = Field(
        default=0,
        ge=0,
        le=LONGEST_WAIT_S,
        description="Seconds to wait, at most, until all of them have ended.",
    )


@cache
def forms() -> Mapping[str, type[Submission]]:
    """Return the body of a submit for each task of the catalogue."""
    return {
        name: create_model(
            "Submission",
            __base__=Submission,
            task=(cast(type[str], Literal[name]), ...),
            input=(schema.input, ...),
        )
        for name, schema in catalogue().items()
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A submit in which no fault was found; nothing of it is stored yet."""

    submission: Submission
    refs: Mapping[Path, Found]
    #: By which it is known when it comes again.
    key: str | None = None

    @property
    def file_bytes(self) -> int:
        """Return what its files weigh, stored or not."""
        return weight(self.refs.values())

    @property
    def may_be_recalled(self) -> bool:
        """Return whether another job's result may answer it, and its own another: a URL's content changes."""
        return self.submission.cache and not any(isinstance(one, Remote) for one in self.refs.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """What became of a submit in which no fault was found."""

    job: Job
    #: The same submit came before; nothing new is stored.
    is_replay: bool


def submit(body: Body, owner: TenantId, services: Services, key: str | None = None) -> Accepted:
    """Check a body, store its images, create its job, and tell the workers.

    Args:
        key: by which it is known when it comes again.

    Raises:
        InvalidRequest: names every fault; nothing was written.
        StoreUnavailable, BlobsUnavailable: no job was created.
    """
    strays = unnamed(body.parts, named_parts(body.value)) if body.parts else []
    made = draft(body.value, Desk(body.parts, owner, services), owner, services, strays)
    [accepted] = accept([replace(made, key=key)], owner, services)
    return accepted


def draft(
    value: Any, desk: Desk, owner: TenantId, services: Services, others: Sequence[Problem] = ()
) -> Draft:
    """Return a submit that can be accepted.

    Args:
        desk: finds what its refs stand for.
        others: faults found elsewhere, to name together with those found here.

    Raises:
        InvalidRequest: names every fault.
        StoreUnavailable: it may name files or heads that exist.
    """
    submission = validate(value)
    _require(_not_offered(submission.task, services))
    _require(_over_limits(submission.input, services.settings.limits))
    _require(refused(submission.webhook, services.settings))
    refs, problems = desk.resolve(submission.input)
    _require([*problems, *others, *_unknown_head(submission.input, owner, services)])
    return Draft(submission=submission, refs=refs)


def accept(drafts: Sequence[Draft], owner: TenantId, services: Services) -> list[Accepted]:
    """Store images, films and jobs, all or none, tell the workers, and return the jobs in order.

    Raises:
        KeyReused: one's key came with another submit before; no job was created.
        TooManyJobs, Overloaded: so much waits that not all of them can be accepted; nothing was written.
        StoreUnavailable, BlobsUnavailable: no job was created.
    """
    found = [one for made in drafts for one in made.refs.values()]
    with services.admission.room(owner, jobs=len(drafts), size=sum(made.file_bytes for made in drafts)):
        ids, files = store_uploads(found, owner, services)
        services.failpoints.hit(Failpoint.API_AFTER_BLOBS)
        new = services.recall.answer([_new_job(made, ids, owner, services) for made in drafts])
        jobs = services.store.create(new, files=files)
    services.failpoints.hit(Failpoint.API_AFTER_COMMIT)
    waiting: defaultdict[str, list[JobId]] = defaultdict(list)
    for job in jobs:
        if job.state is JobState.QUEUED:
            waiting[job.pool].append(job.id)
    for pool, job_ids in waiting.items():
        services.hints.send(pool, job_ids, request_id())
    return [Accepted(job=job, is_replay=job.id != asked.id) for job, asked in zip(jobs, new, strict=True)]


def validate(value: Any) -> Submission:
    """Return the typed submission.

    Raises:
        InvalidRequest: a field is missing, unknown or out of its range.
        UnknownTask: there is no such task, and nothing else is wrong.
    """
    if not isinstance(value, dict):
        raise InvalidRequest("the body is a JSON object with `task` and `input`", pointer="")
    task = value.get("task")
    form = forms().get(task, Submission) if isinstance(task, str) else Submission
    problems = []
    if form is Submission and isinstance(task, str):
        known = ", ".join(catalogue())
        problems.append(
            Problem("/task", f"there is no task {task[:100]!r}; there are {known}", UnknownTask.code)
        )
    try:
        submission = form.model_validate(value, strict=True)
    except ValidationError as error:
        raise refusal([*problems, *faults(error, value)]) from error
    _require(problems)
    return submission


def read_wanted(value: Any) -> Wanted:
    """Return which jobs a body asks for.

    Raises:
        InvalidRequest: it names none, or too many, or something that is no id.
    """
    try:
        return Wanted.model_validate(value, strict=True)
    except ValidationError as error:
        raise refusal(faults(error, value)) from error


def faults(error: ValidationError, sent: Any) -> list[Problem]:
    """Return pydantic's findings with pointers into the value as it was sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_FAULTS]
    return [
        Problem(
            pointer(_place(fault["loc"], sent, is_missing=fault["type"] == "missing")),
            _WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, ")),
        )
        for fault in found
    ]


def _place(loc: Path, sent: Any, *, is_missing: bool) -> Path:
    """Return the part of a location that exists in what was sent: pydantic adds names of union members."""
    place: list[str | int] = []
    for step, part in enumerate(loc):
        in_object = isinstance(sent, dict) and part in sent
        if in_object or (isinstance(sent, list) and isinstance(part, int) and part < len(sent)):
            sent = sent[part]
        elif not (is_missing and step == len(loc) - 1):
            continue
        place.append(part)
    return tuple(place)


def _require(problems: list[Problem]) -> None:
    if problems:
        raise refusal(problems)


def _over_limits(task_input: TaskInput, limits: Limits) -> list[Problem]:
    return [Problem(pointer(("input", *path)), message) for path, message in check_limits(task_input, limits)]


def _not_offered(task: str, services: Services) -> list[Problem]:
    """Return whether the profile names no model for what a task needs; a model that is missing may come."""
    manifest = services.manifest
    if not (lacking := manifest.lacks(catalogue()[task].needs)):
        return []
    offered = ", ".join(name for name, other in catalogue().items() if not manifest.lacks(other.needs))
    message = f"profile {manifest.name} has no {', '.join(lacking)}; it offers {offered or 'nothing'}"
    return [Problem("/task", message, NotOffered.code)]


def _unknown_head(task_input: TaskInput, owner: TenantId, services: Services) -> list[Problem]:
    name = getattr(task_input, "head", None)
    if not isinstance(name, str) or services.store.head_exists(owner, name):
        return []
    return [Problem("/input/head", f"there is no head {name!r}", UnknownHead.code)]


def _new_job(made: Draft, ids: Mapping[Upload, FileId], owner: TenantId, services: Services) -> NewJob:
    submission = made.submission
    refs = {path: _stored(one, ids) for path, one in made.refs.items()}
    task_input = cast(Json, _canonical(submission.input, (), refs))
    return NewJob(
        id=new_job_id(),
        tenant=owner,
        task=submission.task,
        input=task_input,
        input_bytes=len(json.dumps(task_input, separators=(",", ":"))) + made.file_bytes,
        pool=services.pools[submission.task],
        priority=Priority[submission.priority.upper()],
        labels=submission.labels,
        start_within=_seconds(submission.start_within_s),
        timeout=_seconds(submission.timeout_s) or timedelta(seconds=catalogue()[submission.task].timeout_s),
        retain=_seconds(submission.retain_s) or services.settings.retain,
        cache=made.may_be_recalled,
        webhook=webhook_of(submission.webhook),
        idempotency=_idempotency(made, task_input),
        request_id=request_id(),
    )


def _idempotency(made: Draft, task_input: Json) -> Idempotency | None:
    if made.key is None:
        return None
    # What is not said is left out: a newer release may say more by default.
    said = made.submission.model_dump(mode="json", exclude={"input"}, exclude_defaults=True)
    return Idempotency(key=made.key, fingerprint=fingerprint(said | {"input": task_input}))


def _stored(found: Found, ids: Mapping[Upload, FileId]) -> Json:
    """Return the ref that a stored job has in the place of the one that was sent."""
    match found:
        case Upload():
            return {"file": ids[found]}
        case Stored():
            return {"file": found.id}
        case Remote():
            return {"url": found.url}


def _canonical(value: Any, path: Path, refs: Mapping[Path, Json]) -> Any:
    """Return an input as JSON that needs no request to be understood."""
    if isinstance(value, FileRef):
        return refs[path]
    if isinstance(value, BaseModel):
        fields = ((name, getattr(value, name)) for name in type(value).model_fields)
        return {name: _canonical(child, (*path, name), refs) for name, child in fields if child is not None}
    if isinstance(value, dict):
        return {key: _canonical(child, (*path, key), refs) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(child, (*path, index), refs) for index, child in enumerate(value)]
    return str(value) if isinstance(value, str) else value


def _seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)
