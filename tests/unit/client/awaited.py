"""The asynchronous client behind the blocking one's face, so that one suite holds both to one promise."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Iterator
from types import TracebackType
from typing import Any, Self


class Awaited:
    """Calls a client's methods, or its webhooks', and awaits what they return in a loop of its own."""

    def __init__(self, client: Any, runner: asyncio.Runner | None = None) -> None:
        self._client = client
        self._runner = runner or asyncio.Runner()

    @property
    def webhooks(self) -> Awaited:
        return Awaited(self._client.webhooks, self._runner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*given: Any, **named: Any) -> Any:
            answer = method(*given, **named)
            if hasattr(answer, "__aiter__"):
                return self._drained(answer)
            return self._runner.run(answer) if inspect.iscoroutine(answer) else answer

        return call

    def _drained(self, values: AsyncGenerator[Any, None]) -> Iterator[Any]:
        async def draw() -> Any:
            return await anext(values, self)

        try:
            while (value := self._runner.run(draw())) is not self:
                yield value
        finally:
            self._runner.run(values.aclose())
