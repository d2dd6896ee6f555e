"""What the OpenAPI document says of each operation for the whole house: who may call it, and what refuses it.

A route declares what only it answers. This adds what stands before every route: the door of `api.auth`, the
rates of `api.quotas`, the pace of `api.server`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from api.errors import answered, codes_in
from api.scopes import SCOPES
from shared.keys import Scope

#: Of the one security scheme.
KEY = "key"
SECURITY_SCHEMES: Mapping[str, Any] = {
    KEY: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "ik_...",
        "description": (
            "`Authorization: Bearer ik_...`; `iconotext keys create` makes a key. It has one scope or "
            "several: `submit`, `read`, `admin`. A service that only its own machine can reach asks for no "
            "key, unless it is told to."
        ),
    }
}
HEADERS: Mapping[str, Any] = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "Retry-After": "Seconds after which the same request may be accepted.",
        "WWW-Authenticate": "`Bearer`: send a key (RFC 6750).",
        "Content-Range": "`bytes */N`: how many bytes there are.",
        "RateLimit-Policy": (
            'What you may send a minute, where that is limited: `"requests";q=600;w=60, "jobs";q=100;w=60`.'
        ),
        "RateLimit": 'What is left of it, and the seconds until more is: `"requests";r=599;t=42`.',
    }.items()
}
_RATES = ("RateLimit-Policy", "RateLimit")
_WRITES = {"post", "put", "patch", "delete"}


def add_to(operation: dict[str, Any], method: str) -> None:
    """Complete an operation of the document whose body and answers are there."""
    scope = _scopes()[operation["operationId"]]
    operation["security"] = [] if scope is None else [{KEY: []}]
    if scope is not None:
        needs = f"Needs a key with the scope `{scope}`, where keys are asked for."
        operation["description"] = f"{operation.get('description', '')}\n\n{needs}".strip()
    responses = operation["responses"]
    codes = codes_in(responses) | set(_codes(scope, method, has_body="requestBody" in operation))
    known = {status: answer for status, answer in responses.items() if int(status) < 400}
    refused = {str(status): answer for status, answer in answered(codes).items()}
    operation["responses"] = {**known, **refused}
    if scope is not None:
        _tell_rates(operation["responses"])


def _codes(scope: Scope | None, method: str, *, has_body: bool) -> Iterator[str]:
    yield from ("host_not_allowed", "internal")
    if method in _WRITES:
        yield "origin_not_allowed"
    if has_body:
        yield "request_timeout"
    if scope is not None:
        yield from ("bad_request", "unauthorized", "forbidden", "rate_limited", "store_unavailable")


def _tell_rates(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if int(status) < 400 or status == "429":
            refs = {name: {"$ref": f"#/components/headers/{name}"} for name in _RATES}
            response["headers"] = {**response.get("headers", {}), **refs}


def _scopes() -> dict[str, Scope | None]:
    """Return the scopes by operation; an endpoint is `blueprint.function`, its operation the function."""
    return {endpoint.partition(".")[2]: scope for endpoint, scope in SCOPES.items()}
