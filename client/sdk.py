"""Iconotext from Python: submit, wait, look, cancel, retry."""

from __future__ import annotations

from builtins import list as List  # noqa: N812  # `list` is a method here, as in the contract
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from client.batches import Outcome
from client.calls import Calls
from client.driving import Driver
from client.mapping import Given
from client.models import File, Health, Job, Options, Page, System, Task
from client.pictures import Picture
from client.submissions import Submission
from client.transport import LIMITS, Transport
from client.waiting import ROUND_S
from client.webhooks import WebhookCalls, Webhooks

DEFAULT_URL = "http://127.0.0.1:8000"


class Client:
    """A connection to one service. Safe to share among threads; close it, or use it as a context.

    Every method raises `ServiceUnreachable` when no usable answer comes, and `RequestRefused`, or the kind of
    it that fits, when the answer is no.
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
        self._transport = Transport(base_url, timeout=timeout, api_key=api_key, retry_for=retry_for)
        trusting = self._transport.trusts_environment
        http = httpx.Client(transport=transport, limits=LIMITS, timeout=timeout, trust_env=trusting)
        self._driver = Driver(http)
        self._calls = Calls(self._transport)
        #: Whom the service tells of the ends of all your jobs.
        self.webhooks = Webhooks(WebhookCalls(self._transport), self._driver)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def close(self) -> None:
        self._driver.close()

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
        return self._driver.run(self._calls.submit(submission, key=idempotency_key))

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
        return self._driver.run(self._calls.run(submission, timeout))

    def submit_many(self, submissions: Iterable[Submission]) -> List[Outcome]:
        """Return what became of each submission, in order: the new job, or why it was refused.

        Sent in as few requests as the service's limits allow. One that is refused hurts no other.

        Raises:
            PartlySubmitted: the service went away amid the list; it tells of the jobs that are stored.
        """
        return self._driver.run(self._calls.submit_many(submissions))

    def map(
        self,
        task: str,
        inputs: Iterable[Given],
        *,
        in_flight: int = 256,
        ordered: bool = True,
        options: Options | None = None,
        **fields: Any,
    ) -> Generator[tuple[Given, Outcome], None, None]:
        """Yield each input with its ended job, or with why it was refused.

        Inputs are taken, and pictures read, only as fast as jobs end. Leaving the loop early ends that;
        jobs under way go on.

        Args:
            inputs: pictures as `Path`, `bytes` or `File`; texts as `str`; whole inputs as mappings.
            in_flight: at most so many jobs at a time.
            ordered: in the order of the inputs; False: as they end.
            fields: more fields of every input, `top_k=3`.
        """
        flow = self._calls.map(
            task, inputs, in_flight=in_flight, ordered=ordered, options=options, fields=fields
        )
        return self._driver.iterate(flow)

    def get(self, job_id: str) -> Job:
        """Return the job as it stands."""
        return self._driver.run(self._calls.get(job_id))

    def get_many(self, ids: Iterable[str], wait: float = 0.0) -> List[Job | None]:
        """Return the jobs as they stand, in order; None where there is none of that id.

        Args:
            wait: seconds to wait for the end of all of them, if that is sooner.
        """
        return self._driver.run(self._calls.get_many(ids, wait))

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
        return self._driver.run(self._calls.wait(job_id, timeout, on_progress))

    def watch(
        self,
        job_id: str,
        timeout: float | None = None,
        on_progress: Callable[[Job], object] | None = None,
    ) -> Job:
        """Return the job once it has ended, however that was; else as `wait`."""
        return self._driver.run(self._calls.watch(job_id, timeout, on_progress))

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
        return self._driver.run(self._calls.wait_many(ids, timeout, on_progress))

    def as_completed(self, ids: Collection[str], timeout: float | None = None) -> Generator[Job, None, None]:
        """Yield each job once it has ended, however that was; else as `wait_many`."""
        return self._driver.iterate(self._calls.as_completed(ids, timeout))

    def follow(
        self, ids: Collection[str], timeout: float | None = None, *, every: float = ROUND_S
    ) -> Generator[List[Job | None], None, None]:
        """Yield how the jobs stand, in order, at once and then round by round, until all have ended.

        None stands for a job that is not there, or no longer.

        Args:
            timeout: seconds; None goes on as long as it takes.
            every: seconds of a round; the end of all ends the last one early.

        Raises:
            WaitTimeout: some go on.
        """
        return self._driver.iterate(self._calls.follow(ids, timeout, every))

    def stream(self, job_id: str) -> Generator[Job, None, None]:
        """Yield the job as it stands, and again as soon as it has changed, until it has ended.

        Told by the service over one connection that stays open, and is made anew when it breaks. What changes
        faster than it can be told is told once.

        Raises:
            NotFound: there is no such job, or it was deleted meanwhile.
            ServiceUnreachable: the service was away, or had no room for listeners, for over half a minute.
        """
        return self._driver.iterate(self._calls.stream(job_id))

    def list(
        self,
        *,
        status: Collection[str] = (),
        error: str | None = None,
        task: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        page_size: int | None = None,
    ) -> Generator[Job, None, None]:
        """Yield jobs, newest first, fetching page after page as they are asked for.

        Args:
            error: only those that failed with this code, `attempts_exhausted`.
        """
        flow = self._calls.list(
            status=status,
            error=error,
            task=task,
            labels=labels,
            created_after=created_after,
            page_size=page_size,
        )
        return self._driver.iterate(flow)

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
        flow = self._calls.page(
            status=status,
            error=error,
            task=task,
            labels=labels,
            created_after=created_after,
            page_size=page_size,
            page_token=page_token,
        )
        return self._driver.run(flow)

    def cancel(self, job_id: str) -> Job:
        """Ask for the job's end and return how it stands; a job that has ended stays as it is."""
        return self._driver.run(self._calls.cancel(job_id))

    def retry(self, job: Job | str) -> Job:
        """Have a job run again that failed, was canceled or expired, and return it as it is now queued.

        One that goes on, succeeded, or was retried since it was looked at stays as it is.

        Args:
            job: as it stood when it was last looked at; or its id, to look first.
        """
        return self._driver.run(self._calls.retry(job))

    def delete(self, job: Job | str) -> None:
        """Have nothing left of a job, whatever its state; a worker at it stops.

        Raises:
            NotFound: there is no such job.
        """
        self._driver.run(self._calls.delete(job))

    def delete_file(self, file: File | str) -> None:
        """Forget a stored file; jobs that were submitted with it are not harmed.

        Raises:
            NotFound: there is no such file.
        """
        self._driver.run(self._calls.delete_file(file))

    def upload(self, file: str | Path | bytes) -> File:
        """Store an image or a film and return it; its id can be used in any number of jobs."""
        return self._driver.run(self._calls.upload(file))

    def download(self, href: str) -> bytes:
        """Return the content behind an artifact's `href` or a file's id."""
        return self._driver.run(self._calls.download(href))

    def save(self, job: Job, folder: str | Path) -> List[Path]:
        """Write a job as JSON and its artifacts into a folder, and return the files, the job's first.

        Each appears whole or not at all, under a name of its own that stays inside the folder, and replaces
        what was there under it.

        Raises:
            RequestRefused: the folder cannot be written to.
        """
        return self._driver.run(self._calls.save(job, folder))

    def tasks(self) -> Sequence[Task]:
        """Return the catalogue."""
        return self._driver.run(self._calls.catalogue.read())

    def task(self, name: str) -> Task:
        """Return one task of the catalogue, which is read once.

        Raises:
            RequestRefused: there is none of this name.
        """
        return self._driver.run(self._calls.catalogue.task(name))

    def health(self) -> Health:
        """Return whether the service can take and do work; asked once, as probes are."""
        return self._driver.run(self._calls.health())

    def system(self) -> System:
        """Return what the service runs on: its workers, and how much waits for them."""
        return self._driver.run(self._calls.system())
