"""Those who hold a flow's conversation: one that blocks, and one that awaits."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx

from client.flows import Await, Begin, Emit, Flow, Listen, Open, Pause, Send, Step, Stream, Tell, Work

Result = TypeVar("Result")


class _Running(Generic[Result]):
    """A flow under way."""

    step: Any
    result: Result

    def __init__(self, flow: Generator[Any, Any, Result]) -> None:
        self._flow = flow
        self.is_over = False
        self.answer(None)

    def answer(self, value: object) -> None:
        """Tell the flow what came of its step, and learn the next one."""
        try:
            self.step = self._flow.send(value)
        except StopIteration as end:
            self.is_over, self.result = True, end.value

    def fail(self, error: Exception) -> None:
        """Raise what came of its step inside the flow."""
        try:
            self.step = self._flow.throw(error)
        except StopIteration as end:
            self.is_over, self.result = True, end.value

    def close(self) -> None:
        self._flow.close()


class Driver:
    """Drives flows in the caller's thread. Safe to share among threads."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def close(self) -> None:
        self._http.close()

    def run(self, flow: Flow[Result]) -> Result:
        """Return what the flow ends with."""
        with _Hands(self, self._http) as hands, closing(_Running(flow)) as running:
            while not running.is_over:
                _take(running, hands)
            return running.result

    def iterate(self, flow: Stream[Result]) -> Generator[Result, None, None]:
        """Yield what the flow hands out; leaving early ends it."""
        with _Hands(self, self._http) as hands, closing(_Running(flow)) as running:
            while not running.is_over:
                if isinstance(running.step, Emit):
                    yield running.step.value
                    running.answer(None)
                else:
                    _take(running, hands)


def _take(running: _Running[Any], hands: _Hands) -> None:
    try:
        answer = hands.do(running.step)
    except Exception as error:  # noqa: BLE001  # raised where it was asked for: in the flow
        running.fail(error)
    else:
        running.answer(answer)


class _Hands:
    """What one flow under way holds: an open response, and threads."""

    def __init__(self, driver: Driver, http: httpx.Client) -> None:
        self._driver = driver
        self._http = http
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang_up()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def do(self, step: Step) -> object:
        answer: object = None
        match step:
            case Send(request):
                answer = self._http.send(request)
            case Pause(seconds):
                time.sleep(seconds)
            case Work(function):
                answer = function()
            case Tell(listener, news):
                listener(news)
            case Open(request):
                answer = self._open(request)
            case Listen():
                answer = next(self._pieces, None)
            case Begin(flow):
                answer = self._threads().submit(self._driver.run, flow)
            case Await(futures):
                answer = next(iter(wait(futures, return_when=FIRST_COMPLETED).done))
        return answer

    def _open(self, request: httpx.Request) -> httpx.Response:
        self._hang_up()
        self._response = response = self._http.send(request, stream=True)
        if response.is_success:
            self._pieces = response.iter_bytes()
        else:
            response.read()
        return response

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(thread_name_prefix="iconotext")
        return self._pool


class AsyncDriver:
    """Drives flows in an event loop, which it never blocks for long."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, flow: Flow[Result]) -> Result:
        """Return what the flow ends with."""
        async with _AsyncHands(self, self._http) as hands:
            with closing(_Running(flow)) as running:
                while not running.is_over:
                    await _take_async(running, hands)
                return running.result

    async def iterate(self, flow: Stream[Result]) -> AsyncGenerator[Result, None]:
        """Yield what the flow hands out; leaving early ends it."""
        async with _AsyncHands(self, self._http) as hands:
            with closing(_Running(flow)) as running:
                while not running.is_over:
                    if isinstance(running.step, Emit):
                        yield running.step.value
                        running.answer(None)
                    else:
                        await _take_async(running, hands)


async def _take_async(running: _Running[Any], hands: _AsyncHands) -> None:
    try:
        answer = await hands.do(running.step)
    except Exception as error:  # noqa: BLE001  # raised where it was asked for: in the flow
        running.fail(error)
    else:
        running.answer(answer)


class _AsyncHands:
    """What one flow under way holds: an open response, and tasks."""

    def __init__(self, driver: AsyncDriver, http: httpx.AsyncClient) -> None:
        self._driver = driver
        self._http = http
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._hang_up()

    async def do(self, step: Step) -> object:
        answer: object = None
        match step:
            case Send(request):
                answer = await self._http.send(request)
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Work(function):
                answer = await asyncio.to_thread(function)
            case Tell(listener, news):
                told = listener(news)
                if inspect.isawaitable(told):
                    await told
            case Open(request):
                answer = await self._open(request)
            case Listen():
                answer = None if self._pieces is None else await anext(self._pieces, None)
            case Begin(flow):
                answer = self._begin(flow)
            case Await(futures):
                tasks: Any = futures
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                answer = next(iter(done))
        return answer

    def _begin(self, flow: Flow[Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(self._driver.run(flow))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at: the loop is not to complain of one that nobody awaits any more.
            task.exception()

    async def _open(self, request: httpx.Request) -> httpx.Response:
        await self._hang_up()
        self._response = response = await self._http.send(request, stream=True)
        if response.is_success:
            self._pieces = response.aiter_bytes()
        else:
            await response.aread()
        return response

    async def _hang_up(self) -> None:
        if self._response is not None:
            await self._response.aclose()
