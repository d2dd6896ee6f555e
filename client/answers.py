"""What the service answered, read as values."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from client.errors import REFUSALS, RequestRefused, ServiceUnreachable
from client.flows import Flow, work
from client.models import Problem

Answer = TypeVar("Answer", bound=BaseModel)

#: Reading more than this takes long enough to be noticed by others.
_MUCH_BYTES = 2**20


def answered(kind: type[Answer], request: Flow[httpx.Response]) -> Flow[Answer]:
    """Return what a request is answered with, as a value; else as `read`."""
    response = yield from request
    if len(response.content) > _MUCH_BYTES:
        return (yield from work(partial(read, kind, response)))
    return read(kind, response)


def read(kind: type[Answer], response: httpx.Response) -> Answer:
    """Return the body as a value, however many values it holds in one pass.

    Raises:
        ServiceUnreachable: whoever answered is no Iconotext service, or a much newer one.
    """
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        where = response.url.copy_with(query=None)
        fault = error.errors(include_url=False, include_input=False)[0]
        if fault["type"] == "json_invalid":
            raise ServiceUnreachable(
                f"{where} does not answer like an Iconotext service; check the URL"
            ) from error
        raise ServiceUnreachable(
            f"{where} answered no {kind.__name__.strip('_').lower()}: {fault['msg']}; "
            "is the client as new as the service?"
        ) from error


def failure(response: httpx.Response, base_url: str) -> RequestRefused | ServiceUnreachable:
    """Return what an answer that is no success means."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    status = response.status_code
    if status >= 500:
        mark = f", request {body['request_id']}" if body.get("request_id") else ""
        words = body.get("detail") or body.get("title") or response.reason_phrase or "no reason given"
        return ServiceUnreachable(
            f"{base_url} cannot serve: {words} (status {status}{mark}); try again later",
            retry_after_s=retry_after_s(response),
        )
    if status < 400 or not body:
        words = f"{base_url} does not answer like an Iconotext service (status {status}); check the URL"
        body = {"code": body.get("code"), "detail": words}
    return refusal(body, status, retry_after_s(response))


def retry_after_s(response: httpx.Response) -> float | None:
    """Return how many seconds the service, or a proxy, wants to be left alone; None: it does not say."""
    said = response.headers.get("retry-after", "")
    for read_as in (float, _seconds_until):
        with suppress(ValueError):
            return max(0.0, read_as(said))
    return None


def _seconds_until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    # RFC 9110: a date is in GMT, whether it says so or not.
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def refusal(problem: dict[str, Any], status: int, after_s: float | None = None) -> RequestRefused:
    """Return the refusal that a problem (RFC 9457) says.

    Args:
        after_s: when the service wants to be asked again.
    """
    faults = problem.get("errors")
    request_id = problem.get("request_id")
    return REFUSALS.get(status, RequestRefused)(
        str(problem.get("detail") or problem.get("title") or "no reason given"),
        code=str(problem.get("code") or f"http_{status}"),
        status=status,
        retry_after_s=after_s,
        request_id=str(request_id) if request_id else None,
        problems=[Problem.model_validate(fault) for fault in faults if isinstance(fault, dict)]
        if isinstance(faults, list)
        else (),
    )
