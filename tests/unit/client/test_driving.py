"""A conversation goes the same way, whether whoever holds it blocks or awaits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest

from client.driving import AsyncDriver, Driver
from client.flows import Await, Begin, Emit, Flow, Listen, Open, Pause, Send, Stream, Tell, work
from tests.unit.client.awaited import Awaited
from tests.unit.client.fake_service import FakeService

REQUEST = httpx.Request("GET", "http://service/v1/jobs/job_1")


@pytest.fixture(params=["blocking", "awaited"])
def driver(request: pytest.FixtureRequest, service: FakeService) -> Iterator[Any]:
    """Return either driver; the one that awaits as if it blocked."""
    if request.param == "awaited":
        with Awaited(AsyncDriver(httpx.AsyncClient(transport=service))) as made:
            yield made
    else:
        with closing(Driver(httpx.Client(transport=service))) as blocking:
            yield blocking


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in two pieces that tells whether it was closed."""

    def __init__(self) -> None:
        self.is_closed = False
        self._pieces = [b"one", b"two"]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> Any:
        for piece in self._pieces:
            yield piece

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


def test_a_flow_ends_with_its_value(driver: Any) -> None:
    def flow() -> Flow[int]:
        response = yield Send(REQUEST)
        yield Pause(0.0)
        return int(response.json()["version"])

    assert driver.run(flow()) == 1


def test_what_goes_wrong_is_raised_where_it_was_asked_for(driver: Any, service: FakeService) -> None:
    def flow() -> Flow[str]:
        try:
            yield Send(REQUEST)
        except httpx.ReadError as error:
            return f"caught: {error}"
        return "nothing"

    service.script = [httpx.ReadError("reset")]

    assert driver.run(flow()) == "caught: reset"


def test_what_a_flow_does_not_catch_is_raised_to_the_caller(driver: Any) -> None:
    def fail() -> None:
        raise LookupError("none")

    with pytest.raises(LookupError, match="none"):
        driver.run(work(fail))


def test_an_open_body_comes_piece_by_piece_and_is_closed_at_the_end(
    driver: Any, service: FakeService
) -> None:
    body = Body()
    service.script = [lambda _: httpx.Response(200, stream=body)]

    def flow() -> Stream[bytes]:
        yield Open(REQUEST)
        while (piece := (yield Listen())) is not None:
            yield Emit(piece)

    assert list(driver.iterate(flow())) == [b"one", b"two"]
    assert body.is_closed


def test_the_next_open_body_closes_the_one_before(driver: Any, service: FakeService) -> None:
    bodies = [Body(), Body()]
    service.script = [lambda _, body=body: httpx.Response(200, stream=body) for body in bodies]

    def flow() -> Flow[tuple[bytes, bool, bool]]:
        yield Open(REQUEST)
        yield Open(REQUEST)
        piece: bytes = yield Listen()
        return piece, bodies[0].is_closed, bodies[1].is_closed

    assert driver.run(flow()) == (b"one", True, False)


def test_a_refusal_in_place_of_an_open_body_is_read_whole(driver: Any, service: FakeService) -> None:
    service.script = [httpx.Response(404, text="no such thing")]

    def flow() -> Flow[str]:
        response = yield Open(REQUEST)
        return str(response.text)

    assert driver.run(flow()) == "no such thing"


def test_leaving_a_stream_early_ends_its_flow_and_hangs_up(driver: Any, service: FakeService) -> None:
    body = Body()
    service.script = [lambda _: httpx.Response(200, stream=body)]
    ended: list[str] = []

    def flow() -> Stream[bytes]:
        try:
            yield Open(REQUEST)
            while (piece := (yield Listen())) is not None:
                yield Emit(piece)
        finally:
            ended.append("flow")

    stream = driver.iterate(flow())
    assert next(stream) == b"one"
    stream.close()

    assert ended == ["flow"]
    assert body.is_closed


def test_flows_that_are_begun_go_on_beside_each_other(driver: Any) -> None:
    meeting = threading.Barrier(2)

    def flow() -> Flow[list[int]]:
        futures = [(yield Begin(_meet(meeting, 0))), (yield Begin(_meet(meeting, 1)))]
        met = []
        while futures:
            done = yield Await(futures)
            futures.remove(done)
            met.append(done.result())
        return sorted(met)

    assert driver.run(flow()) == [0, 1]


def _meet(meeting: threading.Barrier, number: int) -> Flow[int]:
    yield from work(lambda: meeting.wait(10))
    return number


def test_a_begun_flow_that_fails_is_told_by_its_future(driver: Any) -> None:
    def fail() -> None:
        raise LookupError("none")

    def flow() -> Flow[str]:
        begun = yield Begin(work(fail))
        done = yield Await([begun])
        with suppress(LookupError):
            return str(done.result())
        return "told"

    assert driver.run(flow()) == "told"


def test_a_listener_is_called_in_the_order_of_the_news(driver: Any) -> None:
    heard: list[int] = []

    def flow() -> Flow[None]:
        for number in range(3):
            yield Tell(heard.append, number)

    driver.run(flow())

    assert heard == [0, 1, 2]


def test_a_listener_that_is_a_coroutine_function_is_waited_for() -> None:
    heard: list[int] = []

    async def listen(number: int) -> None:
        await asyncio.sleep(0)
        heard.append(number)

    def flow() -> Flow[list[int]]:
        yield Tell(listen, 1)
        return list(heard)

    assert asyncio.run(_awaited(flow())) == [1]


def test_what_takes_its_time_does_not_hold_up_the_loop() -> None:
    assert asyncio.run(_awaited(work(threading.get_ident))) != threading.get_ident()


async def _awaited(flow: Flow[Any]) -> Any:
    async with httpx.AsyncClient() as http:
        return await AsyncDriver(http).run(flow)
