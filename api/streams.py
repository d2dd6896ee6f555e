"""Route of events: a job told as it goes on (server-sent events, as the HTML standard has them)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from socket import socket

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from api import snapshots
from api.auth import recheck, tenant
from api.connections import line_of
from api.errors import answered
from api.services import Services, services
from shared.errors import BlobsUnavailable, NotFound, Overloaded, StoreUnavailable, Unauthorized
from shared.jobs import Job, JobId, JobState, TenantId

routes = APIBlueprint(
    "streams", __name__, abp_tags=[Tag(name="Jobs", description="Submit, poll, list, cancel")]
)

#: After which a client connects again, in milliseconds.
_RECONNECT_MS = 2_000
#: Between two events of one stream, at least; the last one comes at once.
_SPACING_S = 0.25
#: `Retry-After` where every seat is taken.
_NO_SEAT_S = 5


class EventsPath(BaseModel):
    job_id: str = Field(description="The id that the submit answered.")


@routes.get(
    "/v1/jobs/<job:job_id>/events",
    operation_id="get_job_events",
    description=(
        "Each event is `job`, with the version as its `id` and the whole job as its `data`: at once, "
        "whenever it changed (four times a second at most), and when it has ended, with its result. `gone`, "
        "when it was deleted meanwhile. A comment every 15 s keeps the connection. Whoever comes back with "
        "`Last-Event-ID` is told only what is new."
    ),
    responses={
        200: {
            "description": "The stream.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'retry: 2000\n\nid: 3\nevent: job\ndata: {"version": 3}\n\n',
                }
            },
        },
        204: {"description": "It has ended, and you know its last version; do not connect again."},
        **answered(["not_found", "overloaded", "store_unavailable", "blobs_unavailable"]),
    },
)
def get_job_events(path: EventsPath) -> Response:
    """Follow a job to its end."""
    house, owner = services(), tenant()
    job = house.store.get(owner, JobId(path.job_id), with_position=True)
    is_known = request.headers.get("Last-Event-ID") == str(job.version)
    if is_known and job.state.is_terminal:
        return Response(status=204)
    # HEAD is answered without a stream.
    stream: Iterator[bytes] = iter(())
    if request.method == "GET":
        told = _told(house, owner, job, line_of(request), recheck(), is_known=is_known)
        stream = _seated(told, house, owner)
    response = Response(stream, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    # A proxy that collects answers would tell everything at the end.
    response.headers["X-Accel-Buffering"] = "no"
    return response


class _Seated(Iterator[bytes]):
    """A stream whose seat is left when the server closes it, even before its first event."""

    def __init__(self, events: Iterator[bytes], seat: ExitStack) -> None:
        self._events = events
        self._seat = seat

    def __next__(self) -> bytes:
        return next(self._events)

    def close(self) -> None:
        self._seat.close()


def _seated(events: Iterator[bytes], house: Services, owner: TenantId) -> Iterator[bytes]:
    """Return a stream with a seat.

    Raises:
        Overloaded: there is none for the tenant.
    """
    seat = ExitStack()
    if seat.enter_context(house.watcher.seat(owner)):
        return _Seated(events, seat)
    seat.close()
    raise Overloaded("as many requests wait here as can; poll, or come back later", retry_after_s=_NO_SEAT_S)


def _told(
    house: Services,
    owner: TenantId,
    job: Job,
    line: socket | None,
    check: Callable[[], object],
    *,
    is_known: bool,
) -> Iterator[bytes]:
    """Yield a job whenever it changed, until it has ended, nobody listens, or the key is good no longer."""
    yield b"retry: %d\n\n" % _RECONNECT_MS
    try:
        if not is_known:
            yield _event(job, house)
        while not job.state.is_terminal and not house.watcher.is_over(line):
            told_at = time.monotonic()
            news = house.watcher.news(job.id, house.settings.api_heartbeat, known=job.version, line=line)
            check()
            if news is None:
                yield b": heartbeat\n\n"
            else:
                job = _newest(house, owner, news, told_at)
                yield _event(job, house)
    except NotFound:
        yield b"event: gone\ndata: {}\n\n"
    except (StoreUnavailable, BlobsUnavailable, Unauthorized):
        # The client comes back, and is told why then.
        return


def _newest(house: Services, owner: TenantId, news: Job, told_at: float) -> Job:
    """Return what is to be told next: events that come too close together are one."""
    early_s = _SPACING_S - (time.monotonic() - told_at)
    if news.state.is_terminal:
        return news
    if early_s > 0:
        house.watcher.pause(early_s)
    if early_s > 0 or news.state is JobState.QUEUED:
        return house.store.get(owner, news.id, with_position=True)
    return news


def _event(job: Job, house: Services) -> bytes:
    data = snapshots.whole(job, house.blobs, eta_s=house.eta_s(job))
    return b"id: %d\nevent: job\ndata: %b\n\n" % (job.version, data)
