"""Whom to tell of jobs' ends: `webhook` in a submit, and the bodies of endpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from api.settings import ApiSettings
from shared.addresses import LONGEST_URL, endpoint_of
from shared.errors import Problem, WebhookRefused
from shared.jobs import JobState, Json, Webhook
from shared.schemas.base import Frozen

_POINTER = "/webhook/url"
_OFF = "webhooks are off here; whoever runs the service turns them on with ICONOTEXT_WEBHOOKS=true"

Event = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]
_EVERY_END: list[Event] = ["job.succeeded", "job.failed", "job.canceled", "job.expired"]
_Url = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)]
_Words = Annotated[str, StringConstraints(max_length=200)]
_EXAMPLE: Json = {"url": "https://example.org/iconotext", "events": ["job.failed"], "description": "on call"}


class Hook(Frozen):
    """Told of the job's end by a POST; see `GET /v1/jobs/{id}/deliveries` for what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": "https://example.org/iconotext"}]})

    url: _Url = Field(description="http or https, without user name and password; nobody is shown it again.")
    events: list[Event] = Field(
        default=_EVERY_END,
        min_length=1,
        max_length=4,
        description="The ends that are told; default: all.",
    )


class Form(Frozen):
    """The body of an endpoint's creation or change."""


class NewWebhook(Form):
    """An endpoint that is told of the ends of all your jobs."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    url: _Url = Field(description="http or https, without user name and password.")
    events: list[Event] = Field(
        default=_EVERY_END, min_length=1, max_length=4, description="The ends that are told; default: all."
    )
    description: _Words = Field(default="", description="For yourself.")


class WebhookChange(Form):
    """What to change of an endpoint; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True}]})

    url: _Url | None = None
    events: list[Event] | None = Field(default=None, min_length=1, max_length=4)
    description: _Words | None = None
    enabled: bool | None = Field(default=None, description="True brings one back that was turned off.")


def require_on(settings: ApiSettings) -> None:
    """Return when messages are sent at all.

    Raises:
        WebhookRefused: webhooks are off.
    """
    if not settings.webhooks:
        raise WebhookRefused(_OFF, pointer="")


def require_callable(url: str, settings: ApiSettings) -> None:
    """Return when an endpoint may have this URL.

    Raises:
        WebhookRefused: webhooks are off, or nothing may be sent there.
    """
    if problems := refused(Hook(url=url), settings):
        message = problems[0].message
        raise WebhookRefused(message, pointer="/url" if problems[0].pointer == _POINTER else "")


def refused(hook: Hook | None, settings: ApiSettings) -> list[Problem]:
    """Return why nobody can be told, if there is a reason."""
    if hook is None:
        return []
    if not settings.webhooks:
        return [Problem("/webhook", _OFF, WebhookRefused.code)]
    try:
        endpoint_of(hook.url, private=settings.webhook_private, ports=settings.url_ports)
    except ValueError as error:
        return [Problem(_POINTER, str(error), WebhookRefused.code)]
    return []


def webhook_of(hook: Hook | None) -> Webhook | None:
    """Return it as the store takes it."""
    if hook is None:
        return None
    states = (JobState(name.removeprefix("job.")) for name in hook.events)
    return Webhook(url=hook.url, events=list(dict.fromkeys(states)))
