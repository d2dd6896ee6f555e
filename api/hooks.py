"""Whom to tell of a job's end: `webhook` in a submit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from api.settings import ApiSettings
from shared.addresses import LONGEST_URL, endpoint_of
from shared.errors import Problem, WebhookRefused
from shared.jobs import JobState, Webhook
from shared.schemas.base import Frozen

_POINTER = "/webhook/url"

Event = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]


class Hook(Frozen):
    """Told of the job's end by a POST; see `GET /v1/jobs/{id}/deliveries` for what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "https://example.org/iconotext"}]})

    url: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)] = Field(
        description="http or https, without user name and password; nobody is shown it again."
    )
    events: list[Event] = Field(
        default=["job.succeeded", "job.failed", "job.canceled", "job.expired"],
        min_length=1,
        max_length=4,
        description="The ends that are told; default: all.",
    )


def refused(hook: Hook | None, settings: ApiSettings) -> list[Problem]:
    """Return why nobody can be told, if there is a reason."""
    if hook is None:
        return []
    if not settings.webhooks:
        message = "webhooks are off here; whoever runs the service turns them on with ICONOTEXT_WEBHOOKS=true"
        return [Problem("/webhook", message, WebhookRefused.code)]
    try:
        endpoint_of(hook.url, private=settings.webhook_private)
    except ValueError as error:
        return [Problem(_POINTER, str(error), WebhookRefused.code)]
    return []


def webhook_of(hook: Hook | None) -> Webhook | None:
    """Return it as the store takes it."""
    if hook is None:
        return None
    states = (JobState(name.removeprefix("job.")) for name in hook.events)
    return Webhook(url=hook.url, events=list(dict.fromkeys(states)))
