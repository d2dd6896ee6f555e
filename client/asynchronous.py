"""Iconotext from Python, asynchronously."""

from __future__ import annotations

from builtins import list as List  # noqa: N812  # `list` is a method here, as in the contract
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from client.batches import Outcome
from client.calls import Calls
from client.driving import AsyncDriver
from client.mapping import Given
from client.models import File, Health, Job, Options, Page, System, Task
from client.pictures import Picture
from client.sdk import DEFAULT_URL
from client.submissions import Submission
from client.transport import LIMITS, Transport
from client.waiting import ROUND_S
from client.webhooks import AsyncWebhooks, WebhookCalls


class AsyncClient:
    """`Client`, awaited: the same methods, which promise, raise and try again the same.

    It belongs to one event loop; files are read beside it. An `on_progress` may be a coroutine function. What
    is behind a loop over `map` or `stream` that was left early ends when its iterator is closed, which
    `contextlib.aclosing` does at once, and Python when it finds it unused.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        timeout: float = 30.0,
        api_key: str | None = None,
        retry_for: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As `Client`."""
        self._transport = Transport(base_url, timeout=timeout, api_key=api_key, retry_for=retry_for)
        trusting = self._transport.trusts_environment
        http = httpx.AsyncClient(transport=transport, limits=LIMITS, timeout=timeout, trust_env=trusting)
        self._driver = AsyncDriver(http)
        self._calls = Calls(self._transport)
        #: Whom the service tells of the ends of all your jobs.
        self.webhooks = AsyncWebhooks(WebhookCalls(self._transport), self._driver)

    async def close(self) -> None:
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    async def submit(
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
        """As `Client.submit`."""
        submission = Submission(
            task, input, images=images, texts=texts, videos=videos, options=options, fields=fields
        )
        return await self._driver.run(self._calls.submit(submission, key=idempotency_key))

    async def run(
        self,
        task: str,
        input: Mapping[str, Any] | None = None,  # noqa: A002  # the contract's name for it
        *,
        images: Sequence[Picture] = (),
        texts: Sequence[str] = (),
        videos: Sequence[Picture] = (),
        options: Options | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # its end is told as `WaitTimeout`
        **fields: Any,
    ) -> Job:
        """As `Client.run`."""
        submission = Submission(
            task, input, images=images, texts=texts, videos=videos, options=options, fields=fields
        )
        return await self._driver.run(self._calls.run(submission, timeout))

    async def submit_many(self, submissions: Iterable[Submission]) -> List[Outcome]:
        """As `Client.submit_many`."""
        return await self._driver.run(self._calls.submit_many(submissions))

    def map(
        self,
        task: str,
        inputs: Iterable[Given],
        *,
        in_flight: int = 256,
        ordered: bool = True,
        options: Options | None = None,
        **fields: Any,
    ) -> AsyncGenerator[tuple[Given, Outcome], None]:
        """As `Client.map`."""
        flow = self._calls.map(
            task, inputs, in_flight=in_flight, ordered=ordered, options=options, fields=fields
        )
        return self._driver.iterate(flow)

    async def get(self, job_id: str) -> Job:
        """As `Client.get`."""
        return await self._driver.run(self._calls.get(job_id))

    async def get_many(self, ids: Iterable[str], wait: float = 0.0) -> List[Job | None]:
        """As `Client.get_many`."""
        return await self._driver.run(self._calls.get_many(ids, wait))

    async def wait(
        self,
        job_id: str,
        timeout: float | None = None,  # noqa: ASYNC109  # its end is told as `WaitTimeout`
        on_progress: Callable[[Job], object] | None = None,
    ) -> Job:
        """As `Client.wait`."""
        return await self._driver.run(self._calls.wait(job_id, timeout, on_progress))

    async def watch(
        self,
        job_id: str,
        timeout: float | None = None,  # noqa: ASYNC109  # its end is told as `WaitTimeout`
        on_progress: Callable[[Job], object] | None = None,
    ) -> Job:
        """As `Client.watch`."""
        return await self._driver.run(self._calls.watch(job_id, timeout, on_progress))

    async def wait_many(
        self,
        ids: Collection[str],
        timeout: float | None = None,  # noqa: ASYNC109  # its end is told as `WaitTimeout`
        on_progress: Callable[[Job], object] | None = None,
    ) -> List[Job]:
        """As `Client.wait_many`."""
        return await self._driver.run(self._calls.wait_many(ids, timeout, on_progress))

    def as_completed(self, ids: Collection[str], timeout: float | None = None) -> AsyncGenerator[Job, None]:
        """As `Client.as_completed`."""
        return self._driver.iterate(self._calls.as_completed(ids, timeout))

    def follow(
        self, ids: Collection[str], timeout: float | None = None, *, every: float = ROUND_S
    ) -> AsyncGenerator[List[Job | None], None]:
        """As `Client.follow`."""
        return self._driver.iterate(self._calls.follow(ids, timeout, every))

    def stream(self, job_id: str) -> AsyncGenerator[Job, None]:
        """As `Client.stream`."""
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
    ) -> AsyncGenerator[Job, None]:
        """As `Client.list`."""
        flow = self._calls.list(
            status=status,
            error=error,
            task=task,
            labels=labels,
            created_after=created_after,
            page_size=page_size,
        )
        return self._driver.iterate(flow)

    async def page(
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
        """As `Client.page`."""
        flow = self._calls.page(
            status=status,
            error=error,
            task=task,
            labels=labels,
            created_after=created_after,
            page_size=page_size,
            page_token=page_token,
        )
        return await self._driver.run(flow)

    async def cancel(self, job_id: str) -> Job:
        """As `Client.cancel`."""
        return await self._driver.run(self._calls.cancel(job_id))

    async def retry(self, job: Job | str) -> Job:
        """As `Client.retry`."""
        return await self._driver.run(self._calls.retry(job))

    async def delete(self, job: Job | str) -> None:
        """As `Client.delete`."""
        await self._driver.run(self._calls.delete(job))

    async def delete_file(self, file: File | str) -> None:
        """As `Client.delete_file`."""
        await self._driver.run(self._calls.delete_file(file))

    async def upload(self, file: str | Path | bytes) -> File:
        """As `Client.upload`."""
        return await self._driver.run(self._calls.upload(file))

    async def download(self, href: str) -> bytes:
        """As `Client.download`."""
        return await self._driver.run(self._calls.download(href))

    async def save(self, job: Job, folder: str | Path) -> List[Path]:
        """As `Client.save`."""
        return await self._driver.run(self._calls.save(job, folder))

    async def tasks(self) -> Sequence[Task]:
        """As `Client.tasks`."""
        return await self._driver.run(self._calls.catalogue.read())

    async def task(self, name: str) -> Task:
        """As `Client.task`."""
        return await self._driver.run(self._calls.catalogue.task(name))

    async def health(self) -> Health:
        """As `Client.health`."""
        return await self._driver.run(self._calls.health())

    async def system(self) -> System:
        """As `Client.system`."""
        return await self._driver.run(self._calls.system())
