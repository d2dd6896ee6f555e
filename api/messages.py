"""What webhooks are sent, for the OpenAPI document and the tests; `shared.store` writes the JSON directly."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field

from api.answers import Answer, JobError
from api.hooks import Event
from shared.jobs import Json

_JOB = "job_019a7c2f0d144bd8a1c2e9d07f3b5a68"
_ENDED: Json = {
    "type": "job.succeeded",
    "timestamp": "2026-01-01T12:00:02.500Z",
    "data": {
        "id": _JOB,
        "task": "embed",
        "status": "succeeded",
        "version": 4,
        "generation": 1,
        "attempt": 1,
        "error": None,
        "labels": {"album": "summer"},
        "created_at": "2026-01-01T12:00:00.000Z",
        "started_at": "2026-01-01T12:00:01.250Z",
        "finished_at": "2026-01-01T12:00:02.500Z",
        "links": {"self": f"/v1/jobs/{_JOB}"},
    },
}
_TEST: Json = {
    "type": "webhook.test",
    "timestamp": "2026-01-01T12:00:00.250Z",
    "data": {"webhook": "wh_5f0c7a2b9d3e4f60718293a4b5c6d7e8"},
}
_HEADERS = {
    "webhook-id": "The message's id, the same at every try: whoever has it already may drop it.",
    "webhook-timestamp": "When this try was made, in seconds since 1970.",
    "webhook-signature": (
        "`v1,` and the base64 of the HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`, with the "
        "webhook's secret, or that of `GET /v1/webhooks:secret` where a job named the URL itself; two of "
        "them, with a space between, for a day after the secret changed."
    ),
}
_WHEN: dict[Event, str] = {
    "job.succeeded": "A job has succeeded: fetch its result by its link.",
    "job.failed": "A job has failed, for good.",
    "job.canceled": "A job was canceled, and has stopped.",
    "job.expired": "A job was not started within its `start_within_s`.",
}


class EndedLinks(Answer):
    self: str


class EndedJob(Answer):
    """A job's end, without its result."""

    id: str
    task: str
    status: Literal["succeeded", "failed", "canceled", "expired"]
    version: int
    generation: int = Field(description="How often it was asked for: a job that is retried ends once more.")
    attempt: int
    error: JobError | None
    labels: dict[str, str] = Field(description="The first of them, up to 12,000 bytes.")
    created_at: str
    started_at: str | None
    finished_at: str
    links: EndedLinks


class JobEnded(Answer):
    """What is told of a job's end; under 20 kB."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ENDED]})

    type: Event
    timestamp: str = Field(description="When the job ended; the same at every try.")
    data: EndedJob


class WebhookName(Answer):
    webhook: str = Field(description="The webhook's id.")


class WebhookTested(Answer):
    """What `POST /v1/webhooks/{webhook_id}/test` sends."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TEST]})

    type: Literal["webhook.test"]
    timestamp: str
    data: WebhookName


def webhooks() -> dict[str, Any]:
    """Return the document's `webhooks`: each message, by its type."""
    ends = {event: _sent(event, _WHEN[event], "JobEnded") for event in get_args(Event)}
    return {**ends, "webhook.test": _sent("webhook.test", "You asked for a test.", "WebhookTested")}


def _sent(event: str, summary: str, component: str) -> dict[str, Any]:
    return {
        "post": {
            "tags": ["Webhooks"],
            "operationId": f"on_{event.replace('.', '_')}",
            "summary": summary,
            "description": (
                "Signed as Standard Webhooks has it (https://www.standardwebhooks.com): verify it, answer "
                "with any 2xx within seconds, and then work. Redirects are not followed."
            ),
            "security": [],
            "parameters": [
                {
                    "name": name,
                    "in": "header",
                    "required": True,
                    "description": text,
                    "schema": {"type": "string"},
                }
                for name, text in _HEADERS.items()
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{component}"}}},
            },
            "responses": {
                "2XX": {"description": "Taken: it is not sent again."},
                "410": {"description": "The webhook is turned off, and is told nothing more."},
                "default": {"description": "It is sent again later, a few times, over days."},
            },
        }
    }
