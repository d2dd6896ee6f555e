"""The queue: Celery on Redis, carrying hints.

A hint says "there is work in this pool". The database owns the jobs, so a hint that is lost, doubled or
stale does no harm, and Redis may lose everything.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Any, NamedTuple

import structlog
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Queue as Binding
from kombu.messaging import Producer
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.errors import QueueUnavailable
from shared.jobs import JobId
from shared.settings import SharedSettings
from shared.transport import HINT, REQUEST

#: Hints waiting to be sent. More are dropped: whoever drains these finds the rest in SQL.
_BUFFERED = 10_000
#: Hints looked at together before newer ones.
_AT_ONCE = 1_000
#: Hints in a pool's list beyond which another wakes nobody: whoever takes one runs jobs until none is left.
_ENOUGH = 64
#: Silence after a failed publish, so that a dead Redis costs one time-out a second and not one per job.
_BACKOFF_S = 1.0

log = structlog.get_logger()


def make_celery(settings: SharedSettings) -> Celery:
    """Return the Celery app both sides use.

    Every option has its reason in what Celery 5.7 on Redis does: early acknowledgement, because the database
    redelivers, and no list of what was not acknowledged for the same reason; a transport of our own, because
    Celery's ends with a message that it cannot read; no result backend; the default exchange only, whose
    routing survives a FLUSHALL; short socket time-outs, because a frozen Redis otherwise holds a publisher
    for over 25 seconds; no prefetch, because a hint that waits in a busy process is a hint that an idle one
    could have used.
    """
    app = Celery("iconotext", set_as_current=False)
    app.conf.update(
        broker_url=settings.redis_url,
        broker_transport="shared.transport:Transport",
        # kombu concludes from the URL to TLS only for its own transport, and then checks no certificate.
        broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED}
        if settings.redis_url.startswith("rediss://")
        else None,
        # What Redis refuses is an error of the channel: the consumer begins anew, the process does not end.
        broker_channel_error_retry=True,
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "ack_emulation": False,
            "global_keyprefix": settings.redis_prefix,
            "health_check_interval": 10,
            "max_retries": 1,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "socket_timeout": 3,
        },
        accept_content=["json"],
        task_serializer="json",
        task_acks_late=False,
        task_ignore_result=True,
        task_publish_retry=False,
        task_reject_on_worker_lost=False,
        task_store_errors_even_if_ignored=False,
        # Nothing to cancel with early acknowledgement; unsaid, each reconnect would write a page of warnings.
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
    )
    return app


def binding(pool: str) -> Binding:
    """Return the queue of a pool, on the default exchange."""
    return Binding(pool, exchange="", routing_key=pool, durable=True)


class Hint(NamedTuple):
    """That there is a job, for the workers of its pool; and for the logs, which request brought it."""

    pool: str
    job_id: JobId
    request_id: str


class Hints:
    """Sends hints from a thread of its own: a submit never waits for Redis, and never fails with it."""

    def __init__(self, celery: Celery, settings: SharedSettings) -> None:
        self._celery = celery
        self._redis = Redis.from_url(
            settings.redis_url,
            socket_timeout=3,
            socket_connect_timeout=2,
            health_check_interval=10,
            # Once more, on a new connection: the old one may not have outlived a restart of Redis.
            retry=Retry(NoBackoff(), 1),
        )
        self._prefix = settings.redis_prefix
        self._waiting: Queue[Hint] = Queue(_BUFFERED)
        self._templates: dict[str, Mapping[str, Any]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._publish_all, name="hints", daemon=True)
        self._started = threading.Lock()

    def send(self, pool: str, job_ids: Sequence[JobId], request_id: str = "") -> None:
        """Tell the pool's workers that there are jobs, soon; never blocks, never raises.

        Fewer hints than jobs may be sent: never more than `_ENOUGH` wait in a pool's list.

        Args:
            request_id: the request that brought them, for the logs.
        """
        # Started on first use: a thread does not survive the fork of a pre-forking server.
        if not self._thread.is_alive() and not self._closing.is_set():
            with self._started, suppress(RuntimeError):
                self._thread.start()
        for job_id in job_ids:
            with suppress(Full):
                self._waiting.put_nowait(Hint(pool, job_id, request_id))

    def backlog(self, pool: str) -> int:
        """Return how many hints wait in the pool's list; raises `QueueUnavailable`."""
        try:
            return int(self._redis.llen(self._key(pool)))
        except RedisError as error:
            raise QueueUnavailable(f"Redis does not answer: {error}") from error

    def ping(self) -> None:
        """Raise `QueueUnavailable` unless Redis answers."""
        try:
            self._redis.ping()
        except RedisError as error:
            raise QueueUnavailable(f"Redis does not answer: {error}") from error

    def close(self) -> None:
        """Send what waits, for at most a second, and stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        self._redis.close()

    def _publish_all(self) -> None:
        while not (self._closing.is_set() and self._waiting.empty()):
            hints = self._take()
            if not hints:
                continue
            try:
                self._publish(hints)
            except Exception as error:  # noqa: BLE001  # the thread lives on whatever Redis answers; a hint may be lost
                log.warning(
                    "hints lost, the workers will find the jobs in the database",
                    count=len(hints),
                    error=str(error),
                )
                if self._closing.wait(_BACKOFF_S):
                    return

    def _take(self) -> list[Hint]:
        """Return what waits, once there is something; empty after a short while without."""
        hints: list[Hint] = []
        with suppress(Empty):
            hints.append(self._waiting.get(timeout=0.2))
            while len(hints) < _AT_ONCE:
                hints.append(self._waiting.get_nowait())
        return hints

    def _publish(self, hints: Sequence[Hint]) -> None:
        by_pool: defaultdict[str, list[Hint]] = defaultdict(list)
        for hint in hints:
            by_pool[hint.pool].append(hint)
        with self._redis.pipeline(transaction=False) as pipeline:
            for pool in by_pool:
                pipeline.llen(self._key(pool))
            for (pool, found), waiting in zip(by_pool.items(), pipeline.execute(), strict=True):
                if wanted := found[: max(_ENOUGH - waiting, 0)]:
                    pipeline.lpush(self._key(pool), *(self._message(hint) for hint in wanted))
            if len(pipeline):
                pipeline.execute()

    def _message(self, hint: Hint) -> str:
        template = self._templates.get(hint.pool)
        if template is None:
            template = self._templates[hint.pool] = _template(self._celery, hint.pool)
        return _filled(template, hint)

    def _key(self, pool: str) -> str:
        return f"{self._prefix}{pool}"


def _template(celery: Celery, pool: str) -> Mapping[str, Any]:
    """Return a hint as Celery itself publishes it, caught in memory on its way to Redis."""
    with Connection("memory://") as connection:
        channel = connection.channel()
        celery.send_task(HINT, args=("",), queue=binding(pool), producer=Producer(channel))
        # Not `get`, which would take the message apart.
        payload: Mapping[str, Any] = channel._get(pool)
        return payload


def _filled(template: Mapping[str, Any], hint: Hint) -> str:
    """Return the message of one hint: what differs between two that Celery sends is made anew."""
    task_id = str(uuid.uuid4())
    body = json.dumps([[hint.job_id], *json.loads(base64.b64decode(template["body"]))[1:]])
    headers = {"id": task_id, "root_id": task_id, "argsrepr": repr((hint.job_id,)), REQUEST: hint.request_id}
    properties = {"correlation_id": task_id, "delivery_tag": str(uuid.uuid4())}
    return json.dumps(
        {
            **template,
            "body": base64.b64encode(body.encode()).decode(),
            "headers": {**template["headers"], **headers},
            "properties": {**template["properties"], **properties},
        }
    )
