"""Every error as an RFC 9457 problem, and the one table from code to HTTP status."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from api.connections import TooSlow
from shared.errors import (
    BodyTooLarge,
    IconotextError,
    InvalidRequest,
    MalformedBody,
    Overloaded,
    Problem,
    Unauthorized,
    every_error,
)

log = structlog.get_logger()

PROBLEM_TYPE = "application/problem+json"

#: Code -> status. The first part are the codes of `shared.errors`; a job may store them as well.
STATUS: Mapping[str, int] = {
    "malformed_body": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "storage_quota_exceeded": 403,
    "not_found": 404,
    "body_too_large": 413,
    "file_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "unknown_task": 422,
    "unknown_head": 422,
    "unknown_style": 422,
    "idempotency_key_reused": 422,
    "webhook_refused": 422,
    "url_refused": 422,
    "not_offered": 422,
    "file_not_found": 422,
    "image_refused": 422,
    "image_not_recognized": 422,
    "image_format_forbidden": 422,
    "image_too_large": 422,
    "image_corrupt": 422,
    "image_undecodable": 422,
    "video_refused": 422,
    "video_not_recognized": 422,
    "video_format_forbidden": 422,
    "video_too_large": 422,
    "video_corrupt": 422,
    "video_undecodable": 422,
    "too_many_jobs": 429,
    "rate_limited": 429,
    "internal": 500,
    "bad_configuration": 500,
    "model_unavailable": 500,
    "model_failed": 500,
    "timeout": 500,
    "attempts_exhausted": 500,
    "lease_lost": 500,
    "store_unavailable": 503,
    "blobs_unavailable": 503,
    "queue_unavailable": 503,
    "url_unreachable": 503,
    "overloaded": 503,
    "model_out_of_memory": 503,
    "decoder_failed": 503,
    "database_full": 507,
    "blobs_full": 507,
    # What only HTTP knows.
    "bad_request": 400,
    "origin_not_allowed": 403,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "request_timeout": 408,
    "range_not_satisfiable": 416,
    "host_not_allowed": 421,
}

#: The meaning of a code that no class of `shared.errors` stands for.
_WORDS: Mapping[str, str] = {
    "bad_request": "The request is not HTTP as it should be, or holds a key in its URL.",
    "origin_not_allowed": "A browser sends it from a page of another origin.",
    "method_not_allowed": "The path has other methods; `Allow` names them.",
    "not_acceptable": "Nothing that is answered here is of a media type that you accept.",
    "request_timeout": "The body comes too slowly.",
    "range_not_satisfiable": "There are no bytes in this range; `Content-Range` tells how many there are.",
    "host_not_allowed": "The `Host` is no name of this service.",
}
#: The code of an error that werkzeug raises.
_CODE_OF_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}
#: What is wrong with the body as a whole is pointed at as well.
_OF_THE_BODY = {400, 413, 415, 422}
#: Faults listed in one answer; a request with more learns of the rest after fixing these.
_LISTED = 100
#: Of one member of a batch.
_LISTED_OF_MEMBER = 10
#: The statuses of what may be accepted later, as it is; with the seconds after which a retry is worth it,
#: where the error itself does not know: on a full disk, somebody must make room.
_RETRY_S: Mapping[int, int] = {429: 10, 503: 2, 507: 30}
#: By status, what comes with it: names in `components/headers` of the OpenAPI document.
_HEADERS: Mapping[int, str] = {
    401: "WWW-Authenticate",
    416: "Content-Range",
    **dict.fromkeys(_RETRY_S, "Retry-After"),
}
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Refused(Exception):
    """A request refused for what only HTTP knows of it, by one of the codes above."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def request_id() -> str:
    """Return this request's id: the caller's `X-Request-Id` when sane, else a new one."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _SANE_REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
    return str(g.request_id)


def refusal(problems: Sequence[Problem]) -> InvalidRequest:
    """Return the error for one or more faults: the class of their code when they agree on one."""
    codes = {problem.code for problem in problems}
    kind = InvalidRequest
    if MalformedBody.code in codes:
        kind = MalformedBody
    elif len(codes) == 1:
        kind = _request_errors().get(codes.pop(), InvalidRequest)
    first = problems[0].message
    message = first if len(problems) == 1 else f"{len(problems)} faults; the first: {first}"
    return kind(message, problems)


def pointer(path: Iterable[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) to a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def indented(problems: Sequence[Problem], place: int) -> list[Problem]:
    """Return the first faults of one member of an array, with pointers into the array."""
    return [
        Problem(f"/{place}{problem.pointer}", problem.message, problem.code)
        for problem in problems[:_LISTED_OF_MEMBER]
    ]


def problem_document(code: str, message: str, problems: Sequence[Problem] = ()) -> dict[str, Any]:
    """Return the problem document of a code."""
    return _written(code, message, problems, request_id())


def example(code: str) -> dict[str, Any]:
    """Return a problem document of a code, with its meaning in place of what went wrong."""
    return _written(code, meanings()[code], (), "req_5f0c7a2b9d3e4f60718293a4")


def meanings() -> dict[str, str]:
    """Return what each code means, in a sentence."""
    found = {kind.code: (kind.__doc__ or "").strip().partition("\n")[0] for kind in every_error()}
    return {code: _WORDS.get(code) or found[code] for code in sorted(STATUS)}


def _written(code: str, message: str, problems: Sequence[Problem], request: str) -> dict[str, Any]:
    if not problems and STATUS[code] in _OF_THE_BODY:
        problems = [Problem("", message, code)]
    return {
        "type": f"/docs#{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": STATUS[code],
        "detail": message,
        "code": code,
        "errors": [
            {"pointer": problem.pointer, "code": problem.code, "detail": problem.message}
            for problem in problems[:_LISTED]
        ],
        "request_id": request,
    }


def problem_response(
    code: str, message: str, problems: Sequence[Problem] = (), *, retry_after_s: int | None = None
) -> Response:
    """Return a problem document with the status of its code.

    Args:
        retry_after_s: when the same request may be accepted, where the error knows.
    """
    document = problem_document(code, message, problems)
    response = Response(json.dumps(document), status=STATUS[code], content_type=PROBLEM_TYPE)
    g.code_answered = code
    if code == Unauthorized.code:
        response.headers["WWW-Authenticate"] = 'Bearer realm="iconotext"'
    if STATUS[code] in _RETRY_S:
        g.turned_away = code
        response.headers["Retry-After"] = str(retry_after_s or _RETRY_S[STATUS[code]])
    return response


def code_answered() -> str | None:
    """Return the code of the problem that the present request is answered with, if it is."""
    code: str | None = g.get("code_answered")
    return code


def turned_away() -> str | None:
    """Return the code by which the present request was told to come back later, if it was."""
    code: str | None = g.get("turned_away")
    return code


def answered(codes: Iterable[str]) -> dict[str | int, type[BaseModel] | dict[Any, Any] | None]:
    """Return the OpenAPI responses of these codes, by status."""
    by_status: dict[str, list[str]] = {}
    for code in codes:
        by_status.setdefault(str(STATUS[code]), []).append(code)
    return {
        int(status): {
            "description": "Problem, `code`: " + ", ".join(f"`{code}`" for code in sorted(found)),
            "content": {
                PROBLEM_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in sorted(found)},
                }
            },
            **_headers(int(status)),
        }
        for status, found in sorted(by_status.items())
    }


def codes_in(responses: Mapping[str, Any]) -> set[str]:
    """Return the codes of those OpenAPI responses that `answered` made."""
    return {
        code
        for response in responses.values()
        for code in response.get("content", {}).get(PROBLEM_TYPE, {}).get("examples", {})
    }


def _headers(status: int) -> dict[str, Any]:
    name = _HEADERS.get(status)
    return {} if name is None else {"headers": {name: {"$ref": f"#/components/headers/{name}"}}}


def install(app: Flask) -> None:
    """Answer every error of this app with a problem document."""
    app.register_error_handler(IconotextError, _named)
    app.register_error_handler(Refused, lambda error: problem_response(error.code, error.message))
    app.register_error_handler(HTTPException, _of_werkzeug)
    app.register_error_handler(ParseException, _of_gunicorn)
    app.register_error_handler(Exception, _unforeseen)


def _named(error: IconotextError) -> Response:
    # A line for each refusal of too much would be too much; they are counted.
    if STATUS[error.code] >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, Overloaded):
        log.warning("request failed", code=error.code, error=error.message, request_id=request_id())
    problems, after_s = getattr(error, "problems", ()), getattr(error, "retry_after_s", None)
    return problem_response(error.code, error.message, problems, retry_after_s=after_s)


def _of_werkzeug(error: HTTPException) -> AnyResponse:
    if isinstance(error.__context__, TooSlow):
        # Werkzeug takes it for a caller that has hung up.
        return problem_response("request_timeout", "the body of this request comes too slowly")
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        # A redirect, or an answer that some code aborted with.
        return error.get_response()
    fallback = "internal" if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request"
    code = _CODE_OF_STATUS.get(error.code, fallback)
    response = problem_response(code, _words(error, code))
    for name, value in error.get_headers():
        # `Allow` of a 405, `Content-Range` of a 416.
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def _of_gunicorn(error: Exception) -> Response:
    # What was wrong with the head, gunicorn has answered itself; this comes from the chunks of a body.
    return problem_response(MalformedBody.code, f"the body cannot be read: {str(error)[:200]}")


def _words(error: HTTPException, code: str) -> str:
    if code == BodyTooLarge.code:
        most = request.max_content_length or 0
        return f"the body is larger than the limit of {most:,} bytes, or has more parts than any job needs"
    if code == "not_found":
        # Werkzeug's words are for whoever typed a page's address.
        return "there is nothing at this path; check the id in it, or see /docs"
    return error.description or HTTPStatus(error.code or HTTPStatus.BAD_REQUEST).phrase


def _unforeseen(error: Exception) -> Response:
    log.error("request failed", exc_info=error, request_id=request_id())
    return problem_response("internal", "something went wrong on our side; quote the request id")


def _request_errors() -> dict[str, type[InvalidRequest]]:
    found: dict[str, type[InvalidRequest]] = {}
    pending: list[type[InvalidRequest]] = [InvalidRequest]
    while pending:
        kind = pending.pop()
        found[kind.code] = kind
        pending.extend(kind.__subclasses__())
    return found
