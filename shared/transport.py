"""How hints come out of Redis: whatever else lies in a pool's list is dropped, and the worker serves on.

Celery and kombu trust what they read: a message of another shape ends the process, and is put back before it
does. So nothing but a hint passes here, and what Celery is given is made anew from the hint's ids alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
import uuid
from queue import Empty
from typing import Any

import structlog
from kombu.transport import redis
from redis.exceptions import ResponseError

from shared.jobs import JobId

#: The one Celery task: its argument is a job's id, its queue the job's pool.
HINT = "iconotext.hint"
#: The header of a hint that names the request that brought it, for the logs; nobody relies on it.
REQUEST = "iconotext_request"

#: Bytes of a message; a hint has about 900.
_LONGEST = 8 * 1024
#: An empty id names no job in particular.
_ID = re.compile(r"(job_[0-9a-f]{32})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
#: Silence after Redis refused to be read, in the thread that does nothing but read.
_PAUSE_S = 1.0

log = structlog.get_logger()


class NoHint(ValueError):
    """The message says something else; the words tell its kind and nothing that stands in it."""


def hint_in(message: bytes) -> tuple[JobId, str]:
    """Return the job's id in a hint, and the id of the request that brought it, or nothing.

    Raises:
        NoHint: it is not one.
    """
    if len(message) > _LONGEST:
        raise NoHint("too long")
    envelope = _parsed(message, "not JSON")
    headers = envelope.get("headers") if isinstance(envelope, dict) else None
    if not isinstance(headers, dict):
        raise NoHint("not a task")
    if headers.get("task") != HINT:
        raise NoHint("another task")
    if headers.get("compression"):
        raise NoHint("compressed")
    if envelope.get("content-type") != "application/json":
        raise NoHint("not JSON inside")
    request_id = headers.get(REQUEST)
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        request_id = ""
    return _id_in(envelope.get("body")), request_id


def _id_in(body: object) -> JobId:
    try:
        content = base64.b64decode(body, validate=True) if isinstance(body, str) else b""
    except (binascii.Error, ValueError):
        content = b""
    match _parsed(content, "an unreadable body"):
        case [[str(job_id)], dict(named), dict()] if _ID.fullmatch(job_id) and not named:
            return JobId(job_id)
        case _:
            raise NoHint("other arguments")


def _parsed(text: bytes, otherwise: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoHint(otherwise) from error


def message_of(pool: str, job_id: JobId, request_id: str = "") -> dict[str, Any]:
    """Return a hint as Celery's protocol 2 has it on Redis."""
    task_id = str(uuid.uuid4())
    content = [[job_id], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    return {
        "body": base64.b64encode(json.dumps(content).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": HINT,
            "id": task_id,
            "root_id": task_id,
            "ignore_result": True,
            REQUEST: request_id,
        },
        "properties": {
            "body_encoding": "base64",
            "correlation_id": task_id,
            "delivery_info": {"exchange": "", "routing_key": pool},
            "delivery_mode": 2,
            "delivery_tag": str(uuid.uuid4()),
        },
    }


class Channel(redis.Channel):
    """Reads hints, and nothing else."""

    #: Redis refused to be read, and that has been said.
    _is_refused = False

    def _brpop_read(self, **options: Any) -> bool:
        # As kombu's own, but for what it would do with a message that is none, and with a refusal.
        try:
            pool, message = self._popped(options)
        finally:
            self._in_poll = False
            self._flush_brpop_reauth()  # type: ignore[no-untyped-call]  # kombu's
        self._queue_cycle.rotate(pool)
        try:
            job_id, request_id = hint_in(message)
        except NoHint as error:
            log.warning(
                "a message that is no hint was dropped", pool=pool, kind=str(error), bytes=len(message)
            )
        else:
            self.connection._deliver(message_of(pool, job_id, request_id), pool)
        return True

    def _popped(self, options: dict[str, Any]) -> tuple[str, bytes]:
        """Return a message and the pool in whose list it lay.

        Raises:
            Empty: there is none.
        """
        try:
            found = self.client.parse_response(self.client.connection, "BRPOP", **options)
        except ResponseError as error:
            # Most often a key of another type. The workers find the jobs in the database meanwhile.
            if not self._is_refused:
                log.warning("Redis refuses to hand out hints", reason=str(error))
            self._is_refused = True
            time.sleep(_PAUSE_S)
            raise Empty from error
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        self._is_refused = False
        if not found:
            raise Empty
        key, message = found
        name = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
        return name.rsplit(self.sep, 1)[0], message

    def _size(self, queue: str) -> int:
        try:
            return int(super()._size(queue))  # type: ignore[no-untyped-call]  # kombu's
        except ResponseError:
            # Of another type: asked for its length when the worker starts, which goes on without.
            return 0


class Transport(redis.Transport):
    """kombu's Redis, with our channel."""

    Channel = Channel
