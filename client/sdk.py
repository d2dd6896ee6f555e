"""Iconotext from Python: submit, wait, look, cancel."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from client.errors import JobFailed, RequestRefused, ServiceUnreachable, WaitTimeout
from client.inputs import place
from client.models import File, Health, Job, Options, Page, Task
from client.pictures import Parts, Picture, read_picture
from client.transport import Part, Transport

DEFAULT_URL = "http://127.0.0.1:8000"
#: Seconds that one poll asks the service to hold its answer back.
_POLL_S = 20.0
#: `wait` bears a service that is away this long: a restart is no reason to lose a job from sight.
_OUTAGE_S = 30.0
#: The shortest time between two polls without news, should the service not hold its answers back.
_BREATH_S = 0.1
#: Between two tries while the service is away.
_OUTAGE_PAUSE_S = 0.5

Answer = TypeVar("Answer", bound=BaseModel)


class Client:
    """A connection to one service. Safe to share among threads; close it, or use it as a context.

    Every method raises `ServiceUnreachable` when no usable answer comes, and `RequestRefused` when the
    answer is no.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        timeout: float = 30.0,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare to talk to the service at `base_url`; nothing is sent yet.

        Args:
            timeout: seconds that one answer may take; a connection must be made within 5.
            api_key: `ik_...`, where the service asks for one.
            transport: another way to the service than the network, for tests.
        """
        self._transport = Transport(base_url, timeout=timeout, api_key=api_key, transport=transport)
        self._catalogue: dict[str, Task] = {}

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        task: str,
        input: Mapping[str, Any] | None = None,  # noqa: A002  # the contract's name for it
        *,
        images: Sequence[Picture] = (),
        texts: Sequence[str] = (),
        options: Options | None = None,
        **fields: Any,
    ) -> Job:
        """Return the new job, which is stored for good.

        Args:
            task: its name in the catalogue, `tasks()`.
            input: the task's input; a `Path`, `bytes` or `File` anywhere in it is sent along as a file.
            images: paths, bytes, stored files or their ids; put where the task's schema wants pictures.
            texts: put where the task's schema wants texts.
            options: priority, deadlines, labels.
            fields: more fields of the input, `top_k=3`.
        """
        content = {**(input or {}), **fields}
        if images or texts:
            content |= place(self.task(task), images, texts)
        parts = Parts()
        body = {"task": task, "input": parts.refer_all(content)}
        if options is not None:
            body |= options.model_dump(mode="json", exclude_none=True)
        if not len(parts):
            response = self._transport.request("POST", "/v1/jobs", json=body)
        else:
            request: Part = ("request", (None, json.dumps(body).encode(), "application/json"))
            response = self._transport.request("POST", "/v1/jobs", files=[request, *parts])
        return _read(Job, response)

    def get(self, job_id: str) -> Job:
        """Return the job as it stands."""
        return _read(Job, self._transport.request("GET", _job_path(job_id)))

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        on_progress: Callable[[Job], object] | None = None,
    ) -> Job:
        """Return the job once it has succeeded.

        Args:
            timeout: seconds; None waits as long as it takes.
            on_progress: called with the job whenever it has changed.

        Raises:
            JobFailed: it ended otherwise.
            WaitTimeout: it goes on.
            ServiceUnreachable: the service was away for more than half a minute.
        """
        job = self.watch(job_id, timeout, on_progress)
        if not job.succeeded:
            raise JobFailed(job)
        return job

    def watch(
        self,
        job_id: str,
        timeout: float | None = None,
        on_progress: Callable[[Job], object] | None = None,
    ) -> Job:
        """Return the job once it has ended, however that was; else as `wait`."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        job, tag = self._look(job_id)
        while True:
            if on_progress is not None:
                on_progress(job)
            if job.is_terminal:
                return job
            news = None
            while news is None:
                hold = min(_POLL_S, until - time.monotonic())
                if hold <= 0:
                    raise WaitTimeout(job, timeout or 0)
                news = self._look_patiently(job.id, tag, hold, until)
            job, tag = news

    def list(
        self,
        *,
        status: Collection[str] = (),
        task: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        page_size: int | None = None,
    ) -> Iterator[Job]:
        """Yield jobs, newest first, fetching page after page as they are asked for."""
        token: str | None = None
        while True:
            page = self.page(
                status=status,
                task=task,
                labels=labels,
                created_after=created_after,
                page_size=page_size,
                page_token=token,
            )
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def page(
        self,
        *,
        status: Collection[str] = (),
        task: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> Page:
        """Return one page of jobs, newest first; `page_token` is the former page's `next_page_token`."""
        params = [("status", state) for state in status]
        params += [(f"label.{key}", value) for key, value in (labels or {}).items()]
        single = {
            "task": task,
            "created_after": created_after.isoformat() if created_after else None,
            "page_size": str(page_size) if page_size else None,
            "page_token": page_token,
        }
        params += [(key, value) for key, value in single.items() if value is not None]
        return _read(Page, self._transport.request("GET", "/v1/jobs", params=params))

    def cancel(self, job_id: str) -> Job:
        """Ask for the job's end and return how it stands; a job that has ended stays as it is."""
        return _read(Job, self._transport.request("POST", f"{_job_path(job_id)}/cancel"))

    def upload(self, picture: str | Path | bytes) -> File:
        """Store a file and return it; its id can be used in any number of jobs."""
        part: Part = ("file", read_picture(picture))
        return _read(File, self._transport.request("POST", "/v1/files", files=[part]))

    def download(self, href: str) -> bytes:
        """Return the content behind an artifact's `href` or a file's id."""
        path = href if "/" in href else f"/v1/files/{quote(href, safe='')}/content"
        return self._transport.request("GET", path).content

    def tasks(self) -> Sequence[Task]:
        """Return the catalogue."""
        body = _json(self._transport.request("GET", "/v1/tasks"))
        entries = body.get("tasks") if isinstance(body, dict) else body
        if not isinstance(entries, list):
            raise ServiceUnreachable(f"{self.base_url} does not answer like an Iconotext service")
        self._catalogue = {task.name: task for task in map(Task.model_validate, entries)}
        return list(self._catalogue.values())

    def task(self, name: str) -> Task:
        """Return one task of the catalogue, which is read once.

        Raises:
            RequestRefused: there is none of this name.
        """
        if name not in self._catalogue:
            self.tasks()
        if name not in self._catalogue:
            known = ", ".join(self._catalogue)
            raise RequestRefused(f"no task {name!r}; this service has {known}", code="unknown_task")
        return self._catalogue[name]

    def health(self) -> Health:
        """Return whether the service can take and do work; asked once, as probes are."""
        return _read(Health, self._transport.request("GET", "/readyz", tried_again=False))

    def _look(self, job_id: str) -> tuple[Job, str]:
        """Return the job and its ETag."""
        response = self._transport.request("GET", _job_path(job_id))
        return _read(Job, response), response.headers.get("etag", "")

    def _look_for_news(self, job_id: str, tag: str, hold: float) -> tuple[Job, str] | None:
        """Return the job and its ETag after a change, or None after `hold` seconds without one."""
        began = time.monotonic()
        response = self._transport.request(
            "GET",
            _job_path(job_id),
            params=[("wait", f"{hold:.3f}")],
            headers={"If-None-Match": tag} if tag else None,
            wait=hold,
            accept=[httpx.codes.NOT_MODIFIED],
        )
        unchanged = response.status_code == httpx.codes.NOT_MODIFIED
        news = None if unchanged else (_read(Job, response), response.headers.get("etag", ""))
        if news is None:
            time.sleep(max(0.0, min(hold, _BREATH_S) - (time.monotonic() - began)))
        return news

    def _look_patiently(self, job_id: str, tag: str, hold: float, until: float) -> tuple[Job, str] | None:
        """Look for news, again and again while the service is away for a while."""
        until = min(until, time.monotonic() + hold + _OUTAGE_S)
        while True:
            try:
                return self._look_for_news(job_id, tag, hold)
            except ServiceUnreachable:
                if time.monotonic() > until:
                    raise
                time.sleep(_OUTAGE_PAUSE_S)


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise ServiceUnreachable(
            f"{response.url.copy_with(query=None)} does not answer like an Iconotext service; check the URL"
        ) from error


def _read(kind: type[Answer], response: httpx.Response) -> Answer:
    try:
        return kind.model_validate(_json(response))
    except ValidationError as error:
        raise ServiceUnreachable(
            f"{response.url.copy_with(query=None)} answered no {kind.__name__.lower()}: "
            f"{error.errors()[0]['msg']}; is the client as new as the service?"
        ) from error
