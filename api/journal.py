"""One line in the log for each request: what was asked for, by whom, and what was answered; and why not.

Reads that went well are told at DEBUG, what changed something at INFO. Every refusal is a line of its own,
with its code: the trail of who tried what. Bodies, queries and keys are never in it.
"""

from __future__ import annotations

import time
from http import HTTPStatus

import structlog
from flask import Flask, Response, g, request

from api.errors import code_answered, request_id

log = structlog.get_logger()

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Refusals that may mean that somebody tries what is not theirs.
_GRAVE = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST})


def install(app: Flask) -> None:
    """Write down every request of an app; whatever is logged meanwhile carries its id."""
    app.before_request(_begin)
    app.after_request(_tell)


def _begin() -> None:
    # Whatever the last request of this thread left behind.
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id())


def _tell(response: Response) -> Response:
    rule = request.url_rule
    facts = {
        "method": request.method,
        # Not the path, which may hold anything.
        "route": None if rule is None else rule.rule,
        "status": response.status_code,
        "ms": round((time.monotonic() - g.get("began", time.monotonic())) * 1000, 1),
        "remote": request.remote_addr,
    }
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        tell = log.warning if response.status_code in _GRAVE else log.info
        tell("refused", code=code_answered(), **facts)
    elif request.method in _READS:
        log.debug("answered", **facts)
    else:
        log.info("answered", **facts)
    return response
