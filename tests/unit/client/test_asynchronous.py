"""The asynchronous client is the blocking one, awaited; and what only it promises, about its event loop.

What both promise, the other suites hold both to: `kind` of `tests.unit.client.conftest`.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from client import AsyncClient, Client, Job, ServiceUnreachable
from client.webhooks import AsyncWebhooks, Webhooks
from tests.unit.client.fake_service import FakeService

PAIRS = [(Client, AsyncClient), (Webhooks, AsyncWebhooks)]


def public(kind: type) -> dict[str, Any]:
    """Return what a class offers, by name."""
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


METHODS = [
    pytest.param(member, public(awaited).get(name), id=f"{blocking.__name__}.{name}")
    for blocking, awaited in PAIRS
    for name, member in public(blocking).items()
    if inspect.isfunction(member)
]


@pytest.mark.parametrize(("blocking", "awaited"), PAIRS)
def test_both_clients_offer_the_same(blocking: type, awaited: type) -> None:
    assert public(awaited).keys() == public(blocking).keys()


@pytest.mark.parametrize(("blocking", "awaited"), METHODS)
def test_a_method_takes_the_same_in_both(blocking: Any, awaited: Any) -> None:
    assert inspect.signature(awaited).parameters == inspect.signature(blocking).parameters


@pytest.mark.parametrize(("blocking", "awaited"), METHODS)
def test_a_method_returns_the_same_in_both(blocking: Any, awaited: Any) -> None:
    answer = str(inspect.signature(blocking).return_annotation)
    is_loop = answer.startswith("Generator[")

    told = str(inspect.signature(awaited).return_annotation)

    assert told == (f"Async{answer.removesuffix(', None]')}]" if is_loop else answer)
    assert inspect.iscoroutinefunction(awaited) is not is_loop


def test_both_clients_are_made_with_the_same() -> None:
    blocking, awaited = (dict(inspect.signature(kind).parameters) for kind in (Client, AsyncClient))
    # Each has its own kind of way to the service.
    del blocking["transport"], awaited["transport"]
    assert awaited == blocking


@dataclass
class SilentService(FakeService):
    """Answers nothing of what it is `silent` about, for as long as it is waited for."""

    silent: frozenset[str] = frozenset()
    #: So many of those it answers all the same, to begin with.
    answered: int = 0
    #: Set when there is a request that will not be answered.
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    #: Those that nobody waits for any more.
    given_up: list[str] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path not in self.silent or self.answered:
            self.answered -= request.url.path in self.silent
            return await super().handle_async_request(request)
        self.was_asked.set()
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            self.given_up.append(request.url.path)


@pytest.fixture
def silent(service: FakeService) -> SilentService:
    return SilentService(job=service.job, silent=frozenset({"/v1/jobs:get"}))


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test in a loop of its own, and fail when it leaves something going there."""

    async def whole() -> None:
        await asyncio.wait_for(test, 20)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


async def canceled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and fail when it goes on."""
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


def test_canceling_a_wait_gives_up_its_request_and_leaves_the_job(silent: SilentService) -> None:
    async def test() -> None:
        async with AsyncClient("http://service", transport=silent) as client:
            waiting = asyncio.create_task(client.wait_many(["job_1"]))
            await silent.was_asked.wait()
            await canceled(waiting)
            assert silent.given_up == ["/v1/jobs:get"]
            assert (await client.get("job_1")).status == "queued"

    run(test())


def test_canceling_a_loop_over_map_gives_up_all_that_is_behind_it(silent: SilentService) -> None:
    async def drain(client: AsyncClient) -> None:
        async for _ in client.map("answer", ["a", "b", "c", "d"], in_flight=4):
            pass

    async def test() -> None:
        async with AsyncClient("http://service", transport=silent) as client:
            mapping = asyncio.create_task(drain(client))
            await silent.was_asked.wait()
            await canceled(mapping)

    run(test())


def test_leaving_a_loop_early_gives_up_what_is_behind_it_at_once(silent: SilentService) -> None:
    silent.answered = 1

    async def test() -> None:
        async with AsyncClient("http://service", transport=silent) as client:
            async with aclosing(client.map("answer", map(str, range(100)), in_flight=4)) as done:
                await anext(done)
                await silent.was_asked.wait()
            assert len(silent.given_up) == 3

    run(test())


def test_lanes_that_fail_together_are_told_once_and_not_to_the_loop(service: FakeService) -> None:
    complaints: list[dict[str, Any]] = []

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        async with AsyncClient("http://service", transport=service, retry_for=0) as client:
            await client.tasks()
            service.script = [httpx.ReadTimeout("late")] * 4
            with pytest.raises(ServiceUnreachable):
                async for _ in client.map("answer", ["a", "b", "c", "d"], in_flight=4):
                    pass
            gc.collect()

    run(test())

    assert complaints == []


def test_many_at_a_time_share_one_client(service: FakeService) -> None:
    async def test() -> None:
        async with AsyncClient("http://service", transport=service) as client:
            jobs = await asyncio.gather(*(client.submit("answer", texts=[str(n)]) for n in range(100)))
        assert len(jobs) == 100

    run(test())


def test_progress_can_be_told_to_a_coroutine_function(service: FakeService) -> None:
    service.changes = [{"status": "running", "version": 2}, {"status": "succeeded", "version": 3}]
    heard: list[str] = []

    async def listen(job: Job) -> None:
        await asyncio.sleep(0)
        heard.append(job.status)

    async def test() -> None:
        async with AsyncClient("http://service", transport=service) as client:
            await client.wait("job_1", on_progress=listen)

    run(test())

    assert heard == ["queued", "running", "succeeded"]
