"""A TCP proxy that breaks what passes it: slow, cut, deaf on one side, or silent just after a COMMIT."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

_CHUNK = 65_536
#: PostgreSQL's simple query that commits.
_COMMIT = b"COMMIT\x00"

#: A socket's path, or a host and a port.
Upstream = str | tuple[str, int]


class _Line:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        #: The server's answers are swallowed from now on.
        self.mute = False

    def reset(self) -> None:
        """End both sides without a goodbye."""
        for side in (self.client, self.server):
            side.transport.abort()


class FaultProxy:
    """Listens on loopback in a thread of its own; every method may be called from any thread."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self._upstream = upstream
        self._lines: set[_Line] = set()
        self._latency_s = 0.0
        self._stalled = {"client": False, "server": False}
        #: COMMITs whose answer is still to be lost.
        self._to_lose = 0
        #: How many were.
        self.lost_commits = 0
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name=f"proxy-{name}", daemon=True)
        self._thread.start()

    def reset_all(self) -> None:
        """Cut every connection."""
        self._call(self._reset)

    def slow(self, latency_s: float) -> None:
        """Delay every chunk in both directions; 0 ends it."""
        self._latency_s = latency_s

    def stall(self, side: str, *, on: bool) -> None:
        """Let nothing pass that comes from a side, `client` or `server`, while the other direction works."""
        self._stalled[side] = on

    def lose_commits(self, count: int) -> None:
        """Let so many COMMITs pass, and then neither their answer nor anything else on their connection."""
        self._to_lose = count

    def heal(self) -> None:
        """Behave."""
        self._latency_s, self._to_lose = 0.0, 0
        self._stalled = {"client": False, "server": False}

    def close(self) -> None:
        self._call(self._loop.stop)
        self._thread.join(timeout=5.0)
        self._listener.close()

    def _reset(self) -> None:
        for line in list(self._lines):
            line.reset()

    def _call(self, deed: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(deed)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=self._listener))
        self._loop.run_forever()
        server.close()
        self._reset()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await self._open()
        except OSError:
            writer.transport.abort()
            return
        line = _Line(writer, there_writer)
        self._lines.add(line)
        ways: tuple[Coroutine[Any, Any, None], ...] = (
            self._pump(line, reader, there_writer, "client"),
            self._pump(line, there_reader, writer, "server"),
        )
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._lines.discard(line)
            line.reset()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, str):
            return await asyncio.open_unix_connection(self._upstream)
        return await asyncio.open_connection(*self._upstream)

    async def _pump(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: str
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if side == "client" and self._to_lose > 0 and _COMMIT in chunk:
                    self._to_lose -= 1
                    self.lost_commits += 1
                    line.mute = True
                if side == "server" and line.mute:
                    # The server has done it; nobody will hear of it.
                    return
                while self._stalled[side]:  # noqa: ASYNC110  # set from other threads, which an Event is not for
                    await asyncio.sleep(0.05)
                if self._latency_s:
                    await asyncio.sleep(self._latency_s)
                writer.write(chunk)
                await writer.drain()
