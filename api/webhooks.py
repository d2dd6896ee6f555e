"""Routes of webhooks: endpoints that are told of every end, their secrets, what became of their messages."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from http import HTTPStatus
from typing import Annotated, TypeVar

from flask import Response, jsonify, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from api.auth import tenant
from api.bodies import read_json
from api.deliveries import delivery_json
from api.documents import answer
from api.errors import answered, refusal
from api.hooks import Form, NewWebhook, WebhookChange, require_callable, require_on
from api.limits import DEFAULT_PAGE, LARGEST_PAGE
from api.services import Services, services
from api.snapshots import rfc3339
from api.submissions import faults
from shared.errors import InvalidRequest
from shared.jobs import Json
from shared.store import MOST_WEBHOOKS, Change, Endpoint, MessageId, WebhookId

routes = APIBlueprint(
    "webhooks", __name__, abp_tags=[Tag(name="Webhooks", description="What is told of jobs' ends")]
)

_BODY = ["malformed_body", "body_too_large", "unsupported_media_type", "invalid_request", "webhook_refused"]
_STORE = ["not_found", "store_unavailable"]
#: Members of one list or object in the body of a webhook.
_WIDEST = 16

AnyForm = TypeVar("AnyForm", bound=Form)


class WebhookPath(BaseModel):
    webhook_id: str = Field(description="The id that its creation answered.")


class DeliveryPath(WebhookPath):
    delivery_id: str = Field(description="The message's id, `webhook-id` of what was sent.")


class PageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    page_size: int = Field(
        default=DEFAULT_PAGE, ge=1, description=f"A size over {LARGEST_PAGE} means {LARGEST_PAGE}."
    )
    page_token: Annotated[str, StringConstraints(max_length=512, pattern=r"^[!-~]*$")] = Field(
        default="", description="`next_page_token` of the page before."
    )


@routes.post(
    "/v1/webhooks",
    operation_id="create_webhook",
    description=(
        f"It is told of the ends of all your jobs, by messages that are signed as Standard Webhooks has it. "
        f"You may have {MOST_WEBHOOKS}."
    ),
    responses={
        201: answer("Stored; this answer holds its secret.", "WebhookWithSecret", Location="The webhook."),
        **answered([*_BODY, "store_unavailable"]),
    },
)
def create_webhook() -> Response:
    """Have an endpoint told of your jobs' ends."""
    house = services()
    form = _read(NewWebhook, house)
    require_callable(form.url, house.settings)
    made = house.store.add_webhook(tenant(), form.url, list(dict.fromkeys(form.events)), form.description)
    response = jsonify(_json(made) | {"secret": _secret(made, house)})
    response.status_code = HTTPStatus.CREATED
    response.headers["Location"] = _href(made.id)
    return response


@routes.get(
    "/v1/webhooks",
    operation_id="list_webhooks",
    responses={
        200: answer("Every webhook, the oldest first.", "Webhooks"),
        **answered(["store_unavailable"]),
    },
)
def list_webhooks() -> Response:
    """List your webhooks."""
    return jsonify({"webhooks": [_json(one) for one in services().store.webhooks(tenant())]})


@routes.get(
    "/v1/webhooks:secret",
    operation_id="get_default_secret",
    responses={200: answer("The secret.", "WebhookSecret")},
)
def get_default_secret() -> Response:
    """Return the secret with which messages to the URLs that jobs name themselves are signed."""
    return jsonify({"secret": services().signer.secret(f"tenant:{tenant()}", 1)})


@routes.get(
    "/v1/webhooks/<webhook:webhook_id>",
    operation_id="get_webhook",
    responses={200: answer("The webhook.", "Webhook"), **answered(_STORE)},
)
def get_webhook(path: WebhookPath) -> Response:
    """Describe a webhook."""
    return jsonify(_json(services().store.webhook(tenant(), WebhookId(path.webhook_id))))


@routes.patch(
    "/v1/webhooks/<webhook:webhook_id>",
    operation_id="update_webhook",
    description="What is left out stays. Messages that wait go to the URL that it has when they are sent.",
    responses={200: answer("The webhook as it is now.", "Webhook"), **answered([*_BODY, *_STORE])},
)
def update_webhook(path: WebhookPath) -> Response:
    """Change a webhook, or turn it off or on again."""
    house = services()
    form = _read(WebhookChange, house)
    if form.url is not None:
        require_callable(form.url, house.settings)
    events = None if form.events is None else list(dict.fromkeys(form.events))
    change = Change(url=form.url, events=events, description=form.description, enabled=form.enabled)
    return jsonify(_json(house.store.change_webhook(tenant(), WebhookId(path.webhook_id), change)))


@routes.delete(
    "/v1/webhooks/<webhook:webhook_id>",
    operation_id="delete_webhook",
    responses={204: {"description": "It is gone, and is told nothing more."}, **answered(_STORE)},
)
def delete_webhook(path: WebhookPath) -> Response:
    """Delete a webhook; messages to it that wait are given up."""
    services().store.delete_webhook(tenant(), WebhookId(path.webhook_id))
    return Response(status=HTTPStatus.NO_CONTENT)


@routes.get(
    "/v1/webhooks/<webhook:webhook_id>/secret",
    operation_id="get_webhook_secret",
    responses={200: answer("The secret.", "WebhookSecret"), **answered(_STORE)},
)
def get_webhook_secret(path: WebhookPath) -> Response:
    """Return the secret with which a webhook's messages are signed."""
    house = services()
    return jsonify({"secret": _secret(house.store.webhook(tenant(), WebhookId(path.webhook_id)), house)})


@routes.post(
    "/v1/webhooks/<webhook:webhook_id>/rotate",
    operation_id="rotate_webhook_secret",
    description="For 24 hours, messages carry a signature with the new secret and one with the old.",
    responses={
        200: answer("The webhook with its new secret.", "WebhookWithSecret"),
        **answered(_STORE),
    },
)
def rotate_webhook_secret(path: WebhookPath) -> Response:
    """Give a webhook a new secret."""
    house = services()
    made = house.store.rotate_webhook(tenant(), WebhookId(path.webhook_id))
    return jsonify(_json(made) | {"secret": _secret(made, house)})


@routes.post(
    "/v1/webhooks/<webhook:webhook_id>/test",
    operation_id="test_webhook",
    responses={
        202: answer("The message, which is sent within seconds.", "Delivery"),
        **answered(["invalid_request", "webhook_refused", *_STORE]),
    },
)
def test_webhook(path: WebhookPath) -> Response:
    """Send a webhook a message of the type `webhook.test`, which tells of no job."""
    house = services()
    require_on(house.settings)
    booked = house.store.test_webhook(tenant(), WebhookId(path.webhook_id))
    return _accepted(delivery_json(booked))


@routes.get(
    "/v1/webhooks/<webhook:webhook_id>/deliveries",
    operation_id="list_webhook_deliveries",
    description="Kept for a week after a message was delivered or given up.",
    responses={
        200: answer("One page, the newest first.", "DeliveryPage"),
        **answered(["invalid_request", *_STORE]),
    },
)
def list_webhook_deliveries(path: WebhookPath, query: PageQuery) -> Response:
    """Tell what was sent to a webhook, and how that went."""
    found, following = services().store.webhook_deliveries(
        tenant(),
        WebhookId(path.webhook_id),
        page_size=min(query.page_size, LARGEST_PAGE),
        before=_message_in(query.page_token) if query.page_token else None,
    )
    token = None if following is None else _token_of(following)
    return jsonify({"deliveries": [delivery_json(log) for log in found], "next_page_token": token})


@routes.post(
    "/v1/webhooks/<webhook:webhook_id>/deliveries/<message:delivery_id>/redeliver",
    operation_id="redeliver",
    responses={
        202: answer("The message, to be sent once more: the same id, the same body.", "Delivery"),
        **answered(["invalid_request", "webhook_refused", *_STORE]),
    },
)
def redeliver(path: DeliveryPath) -> Response:
    """Send a message again that was delivered or given up."""
    house = services()
    require_on(house.settings)
    webhook, message = WebhookId(path.webhook_id), MessageId(path.delivery_id)
    return _accepted(delivery_json(house.store.redeliver(tenant(), webhook, message)))


def _read(kind: type[AnyForm], house: Services) -> AnyForm:
    value = read_json(request, house.settings.limits, widest=_WIDEST)
    try:
        return kind.model_validate(value, strict=True)
    except ValidationError as error:
        raise refusal(faults(error, value)) from error


def _accepted(document: Json) -> Response:
    response = jsonify(document)
    response.status_code = HTTPStatus.ACCEPTED
    return response


def _secret(endpoint: Endpoint, house: Services) -> str:
    return house.signer.secret(endpoint.id, endpoint.rotation)


def _json(endpoint: Endpoint) -> Json:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "description": endpoint.description,
        "enabled": endpoint.enabled,
        "disabled_because": endpoint.disabled_because,
        "created_at": rfc3339(endpoint.created_at),
        "rotated_at": rfc3339(endpoint.rotated_at),
        "links": {"self": _href(endpoint.id), "deliveries": f"{_href(endpoint.id)}/deliveries"},
    }


def _href(webhook: WebhookId) -> str:
    return f"/v1/webhooks/{webhook}"


def _token_of(message: MessageId) -> str:
    return urlsafe_b64encode(message.encode()).decode().rstrip("=")


def _message_in(token: str) -> MessageId:
    """Return the message that a page token names; raises `InvalidRequest` when it is none of ours."""
    try:
        message = MessageId(urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii"))
    except ValueError as error:
        raise _bad_token() from error
    if "\0" in message or _token_of(message) != token:
        raise _bad_token()
    return message


def _bad_token() -> InvalidRequest:
    return InvalidRequest(
        "page_token is not one that this list answered; leave it out to begin at the newest message",
        pointer="/page_token",
    )
