"""Iconotext from Python: submit, wait, look, cancel, retry."""

from __future__ import annotations

from builtins import list as List  # noqa: N812  # `list` is a method here, as in the contract
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from client.answers import read
from client.batches import Batch, Outcome
from client.catalogue import Catalogue
from client.errors import JobFailed
from client.mapping import Given, Lanes, submission_of
from client.models import File, Health, Job, Options, Page, System, Task
from client.pictures import Picture
from client.submissions import Envelope, Submission
from client.transport import Transport
from client.uploads import Uploads
from client.waiting import POLL_S, Waiter, deadline, job_path

DEFAULT_URL = "http://127.0.0.1:8000"
#: Seconds between two rounds of news about many jobs: each costs the service a look at all of them.
_ROUND_S = 1.0


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
        retry_for: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare to talk to the service at `base_url`; nothing is sent yet.

        Args:
            timeout: seconds that one answer may take; a connection must be made within 5.
            api_key: `ik_...`, where the service asks for one.
            retry_for: seconds for which a submit is sent again that the service did not answer, or had no
                room for; its jobs exist once all the same. 0: as little as any other request.
            transport: another way to the service than the network, for tests.
        """
        self._transport = Transport(
            base_url, timeout=timeout, api_key=api_key, transport=transport, retry_for=retry_for
        )
        self._catalogue = Catalogue(self._transport)
        self._waiter = Waiter(self._transport)

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
        videos: Sequence[Picture] = (),
        options: Options | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """Return the new job, which is stored for good.

        Args:
            task: its name in the catalogue, `tasks()`.
            input: the task's input; a `Path`, `bytes` or `File` anywhere in it is sent along as a file.
            images: paths, bytes, stored files or their ids; put where the task's schema wants pictures.
            texts: put where the task's schema wants texts.
            videos: put where the task's schema wants films; large files are stored first.
            options: priority, deadlines, labels.
            idempotency_key: the same key with the same submit returns the same job for a day, even to another
                process; None: only this call is safe from making two.
            fields: more fields of the input, `top_k=3`.
        """
        submission = Submission(
            task, input, images=images, texts=texts, videos=videos, options=options, fields=fields
        )
        return self._submit(submission, hold=0, key=idempotency_key)

    def run(
        self,
        task: str,
        input: Mapping[str, Any] | None = None,  # noqa: A002  # the contract's name for it
        *,
        images: Sequence[Picture] = (),
        texts: Sequence[str] = (),
        videos: Sequence[Picture] = (),
        options: Options | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> Job:
        """Submit a job and return it once it has ended, however that was: one request when it is quick.

        Args:
            timeout: seconds to wait for its end; None waits as long as it takes. The others as in `submit`.

        Raises:
            WaitTimeout: it goes on.
        """
        submission = Submission(
            task, input, images=images, texts=texts, videos=videos, options=options, fields=fields
        )
        until = deadline(timeout)
        job = self._submit(submission, hold=POLL_S if timeout is None else min(timeout, POLL_S))
        if job.is_terminal:
            return job
        return self._waiter.watch(job.id, timeout, until=until)

    def submit_many(self, submissions: Iterable[Submission]) -> List[Outcome]:
        """Return what became of each submission, in order: the new job, or why it was refused.

        Sent in as few requests as the service's limits allow. One that is refused hurts no other.

        Raises:
            PartlySubmitted: the service went away amid the list; it tells of the jobs that are stored.
        """
        return Batch(self._transport, self._catalogue).send(tuple(submissions))

    def map(
        self,
        task: str,
        inputs: Iterable[Given],
        *,
        in_flight: int = 256,
        ordered: bool = True,
        options: Options | None = None,
        **fields: Any,
    ) -> Iterator[tuple[Given, Outcome]]:
        """Yield each input with its ended job, or with why it was refused.

        Inputs are taken, and pictures read, only as fast as jobs end. Leaving the loop early ends that;
        jobs under way go on.

        Args:
            inputs: pictures as `Path`, `bytes` or `File`; texts as `str`; whole inputs as mappings.
            in_flight: at most so many jobs at a time.
            ordered: in the order of the inputs; False: as they end.
            fields: more fields of every input, `top_k=3`.
        """

        def make(given: Given) -> Submission:
            return submission_of(task, given, options, fields)

        lanes = Lanes(self.submit_many, self._waiter)
        return lanes.run(inputs, make, in_flight=max(1, in_flight), ordered=ordered)

    def get(self, job_id: str) -> Job:
        """Return the job as it stands."""
        return read(Job, self._transport.request("GET", job_path(job_id)))

    def get_many(self, ids: Iterable[str], wait: float = 0.0) -> List[Job | None]:
        """Return the jobs as they stand, in order; None where there is none of that id.

        Args:
            wait: seconds to wait for the end of all of them, if that is sooner.
        """
        return self._waiter.all(tuple(ids), wait)

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
        return self._waiter.watch(job_id, timeout, on_progress)

    def wait_many(
        self,
        ids: Collection[str],
        timeout: float | None = None,
        on_progress: Callable[[Job], object] | None = None,
    ) -> List[Job]:
        """Return the jobs once all have ended, however that was, in the order of the ids.

        Args:
            timeout: seconds; None waits as long as it takes.
            on_progress: called with each job when it has ended.

        Raises:
            WaitTimeout: some go on.
            RequestRefused: there is no job of one of the ids.
        """
        ended: dict[str, Job] = {}
        # Nobody listens: the end of all is the only news.
        hold = POLL_S if on_progress is None else _ROUND_S
        for jobs in self._waiter.rounds(ids, timeout, hold):
            ended.update((job.id, job) for job in jobs)
            if on_progress is not None:
                for job in jobs:
                    on_progress(job)
        return [ended[job_id] for job_id in ids]

    def as_completed(self, ids: Collection[str], timeout: float | None = None) -> Iterator[Job]:
        """Yield each job once it has ended, however that was; else as `wait_many`."""
        for jobs in self._waiter.rounds(ids, timeout, _ROUND_S):
            yield from jobs

    def list(
        self,
        *,
        status: Collection[str] = (),
        error: str | None = None,
        task: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        page_size: int | None = None,
    ) -> Iterator[Job]:
        """Yield jobs, newest first, fetching page after page as they are asked for.

        Args:
            error: only those that failed with this code, `attempts_exhausted`.
        """
        token: str | None = None
        while True:
            page = self.page(
                status=status,
                error=error,
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
        error: str | None = None,
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
            "error": error,
            "task": task,
            "created_after": created_after.isoformat() if created_after else None,
            "page_size": str(page_size) if page_size else None,
            "page_token": page_token,
        }
        params += [(key, value) for key, value in single.items() if value is not None]
        return read(Page, self._transport.request("GET", "/v1/jobs", params=params))

    def cancel(self, job_id: str) -> Job:
        """Ask for the job's end and return how it stands; a job that has ended stays as it is."""
        return read(Job, self._transport.request("POST", f"{job_path(job_id)}/cancel"))

    def retry(self, job: Job | str) -> Job:
        """Have a job run again that failed, was canceled or expired, and return it as it is now queued.

        One that goes on, succeeded, or was retried since it was looked at stays as it is.

        Args:
            job: as it stood when it was last looked at; or its id, to look first.
        """
        known = self.get(job) if isinstance(job, str) else job
        path, generation = f"{job_path(known.id)}/retry", str(known.generation)
        response = self._transport.request("POST", path, params=[("generation", generation)], once=True)
        return read(Job, response)

    def upload(self, file: str | Path | bytes) -> File:
        """Store an image or a film and return it; its id can be used in any number of jobs."""
        return Uploads(self._transport).send(Path(file) if isinstance(file, str) else file)

    def download(self, href: str) -> bytes:
        """Return the content behind an artifact's `href` or a file's id."""
        path = href if "/" in href else f"/v1/files/{quote(href, safe='')}/content"
        return self._transport.request("GET", path).content

    def tasks(self) -> Sequence[Task]:
        """Return the catalogue."""
        return self._catalogue.read()

    def task(self, name: str) -> Task:
        """Return one task of the catalogue, which is read once.

        Raises:
            RequestRefused: there is none of this name.
        """
        return self._catalogue.task(name)

    def health(self) -> Health:
        """Return whether the service can take and do work; asked once, as probes are."""
        return read(Health, self._transport.request("GET", "/readyz", tried_again=False))

    def system(self) -> System:
        """Return what the service runs on: its workers, and how much waits for them."""
        return read(System, self._transport.request("GET", "/v1/system"))

    def _submit(self, submission: Submission, *, hold: float, key: str | None = None) -> Job:
        """Return the new job, or how it ended when that is within `hold` seconds."""
        envelope = Envelope()
        envelope.add(self._catalogue.body(submission))
        body = envelope.sealed(alone=True)
        return read(Job, self._transport.submit("/v1/jobs", body, hold=int(hold), key=key))
