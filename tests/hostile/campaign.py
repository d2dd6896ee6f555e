"""Schemathesis against a running service: every phase, every check, every operation, and what came of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.core import NotSet
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.openapi.checks import RejectedPositiveData, UndefinedStatusCode, UseAfterFree
from schemathesis.schemas import BaseSchema

from tests.e2e.conftest import Up, end
from tests.films import film, scene
from tests.hostile.mending import STOCK_PICTURE, Stock, mended
from tests.sinks import sink

#: Operations that can accept nothing: heads are made by `train`, which no profile has yet.
UNREACHABLE = frozenset({"DELETE /v1/heads/{name}"})

_ENV = {
    "ICONOTEXT_REQUIRE_KEYS": "true",
    "ICONOTEXT_LOG_FORMAT": "json",
    # A long poll of a job that nobody ends must not hold the run.
    "ICONOTEXT_API_MAX_WAIT": "0.5",
    "ICONOTEXT_API_HEARTBEAT": "1",
    "ICONOTEXT_WEBHOOKS": "true",
    "ICONOTEXT_WEBHOOK_PRIVATE": "true",
}
#: For one answer, in seconds; longer is an error of the run.
_ANSWERED_WITHIN_S = 20
#: Endpoints that are told of every job's end: more would be work for the worker, and find nothing.
_WEBHOOKS = 4
_KEY = "Idempotency-Key"
_REDELIVER = "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
#: Scenarios of several operations, for each example of one.
_SCENARIOS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A service that asks for keys, one that has every scope, and what a submit may name."""

    up: Up
    key: str
    stock: Stock

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.up.url,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=_ANSWERED_WITHIN_S,
            trust_env=False,
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that failed, the first time that it did so for an operation in this way."""

    check: str
    operation: str
    title: str
    message: str = field(compare=False)
    request: str = field(compare=False)


@dataclass(slots=True)
class Tally:
    """What was sent and answered, and what was found."""

    #: Requests by phase.
    phases: Counter[str] = field(default_factory=Counter)
    #: Answers by operation and status, for each operation of the document; 0: none came.
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    #: Answers to methods that no path has, by status.
    strangers: Counter[int] = field(default_factory=Counter)
    #: Jobs accepted by `POST /v1/jobs`, by task.
    tasks: Counter[str] = field(default_factory=Counter)
    #: Submits of `POST /v1/jobs:batch`, by the status of each.
    members: Counter[int] = field(default_factory=Counter)
    #: How often each was made.
    findings: Counter[Finding] = field(default_factory=Counter)
    #: What kept schemathesis from its work.
    errors: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return self.phases.total()

    @property
    def refused(self) -> set[str]:
        """Return the operations that accepted nothing: of them, the run has shown little."""
        return {operation for operation in self.answers if not self.accepted(operation)}

    def accepted(self, operation: str) -> int:
        """Return how many requests of an operation were answered with 2xx."""
        return sum(number for status, number in self.answers[operation].items() if 200 <= status < 300)


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """Start a service, give it a picture and a film, and stop it again.

    Raises:
        AssertionError: it said that something went wrong, or left a process behind.
    """
    up = Up(folder / "data", env={**_ENV, "ICONOTEXT_DATA_DIR": str(folder / "data")})
    with sink() as told:
        try:
            up.wait_until_ready()
            made = up.command("keys", "create", "hostile", "--scopes", "submit,read,admin", "--quiet")
            assert made.returncode == 0, made.stderr
            yield _stocked(up, made.stdout.strip(), told.url)
            assert '"level": "error"' not in (up.data_dir / "logs" / "api.log").read_text()
        finally:
            end([up])


def _stocked(up: Up, key: str, url: str) -> Target:
    found = Target(up=up, key=key, stock=Stock(picture="", film="", url=url))
    with found.client() as http:
        picture, moving = (
            http.post("/v1/files", content=content, headers={"Content-Type": "application/octet-stream"})
            .raise_for_status()
            .json()["id"]
            for content in (STOCK_PICTURE, film([scene(40)] * 5))
        )
    return Target(up=up, key=key, stock=Stock(picture=picture, film=moving, url=url))


def attack(
    aim: Target,
    tally: Tally,
    *,
    seed: int,
    examples: int,
    every_edge: bool = True,
    tell: Callable[[str], object] = str,
) -> None:
    """Run every phase of schemathesis once, and count into the tally.

    Args:
        seed: the same one draws the same cases, as far as the service's answers are the same.
        examples: drawn per operation; there are more scenarios of several operations.
        every_edge: go through each edge of the schemas of submits too, which are 8,000 cases.
        tell: is given each phase's name as it ends.
    """
    schema = schemathesis.openapi.from_dict(_document(aim), config=_config(aim, seed, examples, every_edge))
    for operation in schema.get_all_operations():
        # Of one that it cannot read, schemathesis tells as it goes on.
        if isinstance(operation, Ok):
            tally.answers.setdefault(operation.ok().label, Counter())
    with aim.client() as http, _hooks(schema, aim.stock, http):
        for event in from_schema(schema).execute():
            _count(event, tally)
            if isinstance(event, events.PhaseFinished):
                tell(event.phase.name.value)


def _document(aim: Target) -> dict[str, Any]:
    """Return the service's own document, with one word more than OpenAPI 3.1 has."""
    with aim.client() as http:
        document: dict[str, Any] = deepcopy(http.get("/openapi.json").raise_for_status().json())
    stream = document["paths"]["/v1/jobs/{job_id}/events"]["get"]["responses"]["200"]["content"]
    # The schema of 3.1 is that of the whole text. With the `itemSchema` of 3.2, each event is looked at.
    stream["text/event-stream"] = {"itemSchema": _event()}
    return document


def _event() -> dict[str, Any]:
    job = {"contentMediaType": "application/json", "contentSchema": {"$ref": "#/components/schemas/Job"}}
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {"event": {"enum": ["job", "gone"]}, "data": {"type": "string"}},
        "if": {"properties": {"event": {"const": "job"}}},
        "then": {"properties": {"data": job}},
    }


def _config(aim: Target, seed: int, examples: int, every_edge: bool) -> SchemathesisConfig:
    drawn = {"max-examples": examples, "database": "none", "mode": "all", "no-shrink": True}
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "base-url": aim.up.url,
            "headers": {"Authorization": f"Bearer {aim.key}"},
            "continue-on-failure": True,
            "request-timeout": _ANSWERED_WITHIN_S,
            "cache": {"enabled": False},
            # The key is of no use once the service is gone, and a finding is to be repeated as it is printed.
            "output": {
                "sanitization": {"enabled": False},
                # Answers are counted by what they say.
                "truncation": {"max-recorded-payload-size": 0},
            },
            "generation": drawn,
            # Scenarios begin anywhere: to come to the end of a job's life, it takes many.
            "phases": {"stateful": {"generation": {**drawn, "max-examples": _SCENARIOS * examples}}},
            "operations": [
                {
                    "include-operation-id": ["create_job", "create_jobs"],
                    "phases": {"coverage": {"enabled": every_edge}},
                },
                {
                    # Which ranges a file has is not in the schema of a header.
                    "include-operation-id": ["get_file_content", "get_artifact"],
                    "checks": {
                        "positive_data_acceptance": {"expected-statuses": ["2xx", "304", "404", "416"]},
                        "negative_data_rejection": {"expected-statuses": ["4xx"]},
                    },
                },
            ],
        }
    )


@contextmanager
def _hooks(schema: BaseSchema, stock: Stock, http: httpx.Client) -> Iterator[None]:
    turns = cycle((False, True))

    def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
        if case.operation.label == "POST /v1/webhooks":
            _make_room(http)
        if case.meta is not None and case.meta.generation.mode.is_positive:
            _mend(case, stock)
            if case.operation.label == _REDELIVER and next(turns):
                case.path_parameters = _message(http, stock)

    def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
        return not _is_expected(failure, case.operation.label, response)

    schema.hooks.hook(filter_failure)
    # What is done before a call belongs to the whole process.
    schemathesis.hook(before_call)
    try:
        yield
    finally:
        schemathesis.hooks.unregister(before_call)


def _mend(case: Case[Any], stock: Stock) -> None:
    """Make the service accept a case that fits the schema."""
    if not isinstance(case.body, NotSet):
        case.body = mended(case.operation.definition.raw["operationId"], case.body, stock)
        # It is as positive as it was: schemathesis takes bytes for what no schema allows.
        case.freeze_metadata()
        if case.meta is not None:
            case.meta.clear_dirty(ParameterLocation.BODY)
    if _KEY in case.headers:
        # A key that comes again with another submit is refused; which are taken, no schema says.
        case.headers[_KEY] = f"{case.headers[_KEY][:200]}{uuid4().hex}"


def _message(http: httpx.Client, stock: Stock) -> dict[str, str]:
    """Return the path of a message that can be sent again: two ids that belong together are never drawn."""
    _make_room(http)
    webhook = http.post("/v1/webhooks", json={"url": stock.url}).raise_for_status().json()["id"]
    message = http.post(f"/v1/webhooks/{webhook}/test").raise_for_status().json()["id"]
    return {"webhook_id": webhook, "delivery_id": message}


def _make_room(http: httpx.Client) -> None:
    """Delete the oldest webhooks: a tenant may have so many, and those would be told of every job's end."""
    webhooks = http.get("/v1/webhooks").raise_for_status().json()["webhooks"]
    for webhook in webhooks[: -_WEBHOOKS + 1]:
        http.delete(f"/v1/webhooks/{webhook['id']}")


#: Answers to heads too long to be read: they are documented for the whole, in `info`, and for no operation.
_BEFORE_ANY_ROUTE = {414, 431}
#: What fits the schema and is refused all the same, in the words of the refusal.
_UNSAYABLE = re.compile(
    r"holds a NUL character"
    # A token is what an earlier page answered, and nothing that could be made up.
    r"|^page_token is not one that this list answered"
    # An earlier request of the same run turned it off.
    r"|^this webhook is disabled; enable it first$"
)


def _is_expected(failure: Failure, operation: str, response: Response) -> bool:
    """Tell whether a failure is what the contract says, in words that no schema has."""
    match failure:
        case UseAfterFree():
            # What was told of a job is kept for a week, whether the job is there or not.
            return operation == "GET /v1/jobs/{job_id}/deliveries"
        case UndefinedStatusCode():
            return response.status_code in _BEFORE_ANY_ROUTE
        case AcceptedNegativeData() if response.status_code == 207:
            # A batch is answered as a whole, and each of its submits by a status of its own.
            return any(member["status"] >= 400 for member in response.json()["jobs"])
        case RejectedPositiveData() if response.status_code in {400, 422}:
            faults = response.json()["errors"]
            return bool(faults) and all(_UNSAYABLE.search(fault["detail"]) for fault in faults)
        case _:
            return False


def _count(event: events.EngineEvent, tally: Tally) -> None:
    match event:
        case events.ScenarioFinished():
            _count_scenario(event.phase.value, event.recorder, tally)
        case events.NonFatalError():
            tally.errors.append(f"{event.label}: {event.value}")
        case events.FatalError():
            tally.errors.append(repr(event.exception))
        case events.EngineFinished():
            tally.errors.extend(str(failure) for failure in event.failures)


def _count_jobs(operation: str, response: Response, tally: Tally) -> None:
    match operation, response.status_code:
        case "POST /v1/jobs", (200 | 202):
            tally.tasks[response.json()["task"]] += 1
        case "POST /v1/jobs:batch", 207:
            tally.members.update(member["status"] for member in response.json()["jobs"])


def _count_scenario(phase: str, recorder: ScenarioRecorder, tally: Tally) -> None:
    for case_id, interaction in recorder.interactions.items():
        operation, response = recorder.cases[case_id].value.operation, interaction.response
        status = 0 if response is None else response.status_code
        tally.phases[phase] += 1
        if interaction.request.method.lower() != operation.method.lower():
            tally.strangers[status] += 1
            continue
        tally.answers[operation.label][status] += 1
        if response is not None:
            _count_jobs(operation.label, response, tally)
    for case_id, checks in recorder.checks.items():
        operation = recorder.cases[case_id].value.operation.label
        for check in checks:
            if check.status is Status.FAILURE and (info := check.failure_info) is not None:
                found = Finding(
                    check.name, operation, info.failure.title, info.failure.message, info.code_sample
                )
                tally.findings[found] += 1
            elif check.status is Status.ERROR:
                tally.errors.append(f"{operation}: the check {check.name} broke")
