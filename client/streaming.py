"""A job's changes as the service tells them, over connections that may break."""

from __future__ import annotations

import math
import random
import time

import httpx
from pydantic import ValidationError

from client.errors import NotFound, ServiceUnreachable
from client.events import Event, EventParser
from client.flows import Emit, Flow, Listen, Pause, Stream
from client.models import Job
from client.transport import Transport
from client.waiting import job_path

#: A stream that says nothing for so long is broken: three heartbeats of the service.
_SILENCE_S = 45.0
#: The stream is opened anew for so long after the last word of the service.
_OUTAGE_S = 30.0
#: Until the service says how long to wait before that.
_RETRY_S = 2.0
_MEDIA_TYPE = "text/event-stream"


class JobStream:
    """One job, listened to until it has ended."""

    def __init__(self, transport: Transport, job_id: str) -> None:
        self._transport = transport
        self._job_id = job_id
        self._retry_s = _RETRY_S
        #: The last event that was read, for the service to go on after it.
        self._last_id = ""
        #: When the service is given up; it was not heard yet, and an absent one is told at once.
        self._until = -math.inf
        self._began = time.monotonic()

    def run(self) -> Stream[Job]:
        """Yield the job as it stands, and again whenever it has changed; the last one is terminal.

        Raises:
            NotFound: there is no such job, or it was deleted meanwhile.
            ServiceUnreachable: the service was away for more than half a minute.
        """
        while True:
            try:
                if (yield from self._open()):
                    return
                parser = EventParser()
                while (piece := (yield Listen())) is not None:
                    self._until = time.monotonic() + _OUTAGE_S
                    for event in parser.feed(piece):
                        job = self._read(event)
                        if job is not None:
                            yield Emit(job)
                            if job.is_terminal:
                                return
                    self._retry_s = _RETRY_S if parser.retry_s is None else parser.retry_s
            except httpx.TransportError:
                # It broke off amid the stream: as good as its end.
                pass
            yield from self._pause()

    def _open(self) -> Flow[bool]:
        """Open the stream; True: the service says that there is nothing more to tell."""
        while True:
            try:
                response = yield from self._transport.request(
                    "GET",
                    f"{job_path(self._job_id)}/events",
                    headers={"Accept": _MEDIA_TYPE, "Cache-Control": "no-store"}
                    | ({"Last-Event-ID": self._last_id} if self._last_id else {}),
                    silence=_SILENCE_S,
                    is_open=True,
                )
            except ServiceUnreachable as error:
                if error.retry_after_s is not None:
                    # It is there, and has no seat free: none of those who listen stays for ever.
                    self._until = max(self._until, self._began + _OUTAGE_S)
                if time.monotonic() > self._until:
                    raise
                yield from self._pause(error.retry_after_s or 0.0)
            else:
                return self._is_over(response)

    def _is_over(self, response: httpx.Response) -> bool:
        if response.status_code == httpx.codes.NO_CONTENT:
            return True
        if response.headers.get("content-type", "").partition(";")[0].strip() != _MEDIA_TYPE:
            raise ServiceUnreachable(
                f"{response.url} does not answer with events; check the URL, and any proxy on the way"
            )
        self._until = time.monotonic() + _OUTAGE_S
        return False

    def _read(self, event: Event) -> Job | None:
        """Return the job that an event tells of; None for one that tells nothing new."""
        if event.kind == "gone":
            raise NotFound(
                f"job {self._job_id} was deleted while it was listened to", code="not_found", status=404
            )
        if event.kind != "job" or (event.id and event.id == self._last_id):
            return None
        self._last_id = event.id
        try:
            return Job.model_validate_json(event.data)
        except ValidationError as error:
            raise ServiceUnreachable(
                f"an event of job {self._job_id} holds no job; is the client as new as the service?"
            ) from error

    def _pause(self, asked_s: float = 0.0) -> Flow[None]:
        # Many listeners lose their service at once, and should not all come back at once.
        yield Pause(asked_s + self._retry_s * random.uniform(0.5, 1.5))  # noqa: S311  # spreads load
