"""What quiet requests cost: submits beside hundreds of long-polls, event streams and callers that trickle.

All are held by one API process. The jobs that they wait for stand in a pool that no worker serves.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.report import Effort, Report, in_turn, quantile, read_effort
from benchmarks.stack import Stack, running

_POLLS = 500
_STREAMS = 200
_TRICKLERS = 200
#: More of both kinds, where a single tenant may take them.
_MANY = (1_000, 2_000, 3_000)
_SUBMITS_A_SECOND = 50
_PHASE_S = 20.0
_BAR_MS = 250.0
_ENDED = 20
_WITHIN_S = 60.0
_NOBODY = 'extends = "fake"\n[models.Generator]\npool = "nobody"\n'
#: Instead of the 1,024 of the default, for more streams than one tenant may hold then.
_MANY_THREADS = "8192"


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """Who holds a connection: so many of each kind."""

    polls: int = 0
    streams: int = 0
    heads: int = 0
    bodies: int = 0

    @property
    def count(self) -> int:
        return self.polls + self.streams + self.heads + self.bodies


class Holder:
    """A process that holds requests, and knows when each was told of its job's end."""

    def __init__(self, url: str, jobs: Sequence[str], crowd: Crowd) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_hold, args=(theirs, url, jobs, crowd), daemon=True)
        self._process.start()

    def wait_until_held(self) -> None:
        if not self._pipe.poll(_WITHIN_S):
            raise TimeoutError("not all requests are held")
        self._pipe.recv()

    def told_at(self) -> dict[str, float]:
        """Return when each job that ended was told of, by this machine's clock."""
        return self._ask()[0]

    def turned_away(self) -> int:
        """Return how many streams were told to come back later, which they did."""
        return self._ask()[1]

    def _ask(self) -> tuple[dict[str, float], int]:
        self._pipe.send("what came?")
        answer: tuple[dict[str, float], int] = self._pipe.recv()
        return answer

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


def _hold(pipe: Connection, url: str, jobs: Sequence[str], crowd: Crowd) -> None:
    asyncio.run(_Held(url, crowd).run(pipe, jobs))


class _Held:
    def __init__(self, url: str, crowd: Crowd) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._crowd = crowd
        self._told: dict[str, float] = {}
        self._held = 0
        self._turned_away = 0
        self._all_held = asyncio.Event()
        if not crowd.count:
            self._all_held.set()

    async def run(self, pipe: Connection, jobs: Sequence[str]) -> None:
        crowd = self._crowd
        names = iter(jobs)
        tasks = [asyncio.create_task(self._poll(next(names))) for _ in range(crowd.polls)]
        tasks += [asyncio.create_task(self._stream(next(names))) for _ in range(crowd.streams)]
        tasks += [asyncio.create_task(self._trickle(is_body=False)) for _ in range(crowd.heads)]
        tasks += [asyncio.create_task(self._trickle(is_body=True)) for _ in range(crowd.bodies)]
        await self._all_held.wait()
        pipe.send("held")
        while await asyncio.to_thread(pipe.recv):
            pipe.send((self._told, self._turned_away))

    async def _open(self, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=2**20)
        writer.write(f"{head}\r\nHost: {self._host}\r\n".encode())
        return reader, writer

    def _count(self) -> None:
        self._held += 1
        if self._held == self._crowd.count:
            self._all_held.set()

    async def _poll(self, job: str) -> None:
        known = ""
        while True:
            reader, writer = await self._open(f"GET /v1/jobs/{job}?wait=25 HTTP/1.1")
            writer.write(f"Connection: close\r\n{known}\r\n".encode())
            if not known:
                self._count()
            answer = await reader.read(-1)
            writer.close()
            if b'"status":"canceled"' in answer:
                self._told[job] = time.monotonic()
                return
            known = 'If-None-Match: W/"1"\r\n'

    async def _stream(self, job: str) -> None:
        is_held = False
        while job not in self._told:
            reader, writer = await self._open(f"GET /v1/jobs/{job}/events HTTP/1.1")
            writer.write(b"Connection: close\r\n\r\n")
            async for line in reader:
                if not is_held and line.startswith(b"data:"):
                    is_held = True
                    self._count()
                if b'"status":"canceled"' in line:
                    self._told[job] = time.monotonic()
                if line.startswith(b"Retry-After:"):
                    # Of thousands that come at once, a few may find the database busy for too long.
                    self._turned_away += 1
                    await asyncio.sleep(float(line.split()[1]))
            writer.close()

    async def _trickle(self, *, is_body: bool) -> None:
        """Send a request byte by byte, one a second; begin anew when the service has had enough."""
        is_counted = False
        while True:
            _, writer = await self._open("POST /v1/jobs HTTP/1.1")
            if is_body:
                writer.write(b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            if not is_counted:
                is_counted = True
                self._count()
            try:
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1.0)
            except OSError:
                writer.close()


@contextmanager
def held(stack: Stack, crowd: Crowd) -> Iterator[tuple[Holder, list[str]]]:
    """Hold a crowd's requests while the block runs."""
    jobs = _waiting_jobs(stack.url, crowd.polls + crowd.streams)
    holder = Holder(stack.url, jobs, crowd)
    try:
        holder.wait_until_held()
        yield holder, jobs
    finally:
        holder.close()
        _cancel(stack.url, jobs)


def _waiting_jobs(url: str, count: int) -> list[str]:
    submit = {"task": "generate", "input": {"prompt": "a red square"}}
    found: list[str] = []
    with httpx.Client(base_url=url, timeout=_WITHIN_S) as client:
        for start in range(0, count, 1_000):
            some = [submit] * min(1_000, count - start)
            answer = client.post("/v1/jobs:batch", json=some).raise_for_status().json()
            found += [one["job"]["id"] for one in answer["jobs"]]
    return found


def _cancel(url: str, jobs: Sequence[str]) -> None:
    with httpx.Client(base_url=url, timeout=_WITHIN_S) as client:
        for job in jobs:
            client.post(f"/v1/jobs/{job}/cancel").raise_for_status()


def submits_ms(url: str, seconds: float) -> list[float]:
    """Submit jobs at a steady rate, each on its due moment, and return how long each took from then."""
    parts, local = urlsplit(url), threading.local()
    body = json.dumps({"task": "embed", "input": {"texts": ["red"]}})
    began = time.monotonic()

    def one(due: float) -> float:
        time.sleep(max(0.0, due - time.monotonic()))
        if not hasattr(local, "line"):
            local.line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_WITHIN_S)
        local.line.request("POST", "/v1/jobs", body, {"Content-Type": "application/json"})
        answer = local.line.getresponse()
        answer.read()
        if answer.status != 202:
            raise RuntimeError(f"a submit was answered with {answer.status}")
        return (time.monotonic() - due) * 1000

    moments = [began + number / _SUBMITS_A_SECOND for number in range(round(seconds * _SUBMITS_A_SECOND))]
    with ThreadPoolExecutor(32) as senders:
        return list(senders.map(one, moments))


def main() -> int:
    effort = read_effort(__doc__, rounds=3)
    report = Report(name="held", rounds=effort.rounds, trial=effort.is_trial)
    with tempfile.TemporaryDirectory(prefix="iconotext-held-") as folder:
        manifest = Path(folder) / "nobody.toml"
        manifest.write_text(_NOBODY)
        settings = {"ICONOTEXT_MANIFEST": str(manifest)}
        with running(profile="fake", settings=settings) as stack:
            submits_ms(stack.url, 2.0)
            _beside(report, stack, effort)
        with running(profile="fake", settings=settings | {"ICONOTEXT_API_THREADS": _MANY_THREADS}) as stack:
            submits_ms(stack.url, 2.0)
            _more(report, stack, effort)
    report.note(
        f"{_SUBMITS_A_SECOND} submits a second, timed from the moment each was due, {_PHASE_S:g} s a phase; "
        "one gunicorn process, SQLite, one worker with stand-in models; the holders run on the same cores"
    )
    return report.finish()


def _beside(report: Report, stack: Stack, effort: Effort) -> None:
    """Compare submits alone with those beside each crowd, in turn."""
    crowds = {
        "alone": Crowd(),
        f"beside {_POLLS} long-polls and {_STREAMS} streams": Crowd(polls=_POLLS, streams=_STREAMS),
        f"beside {_TRICKLERS} trickling heads": Crowd(heads=_TRICKLERS),
        f"beside {_TRICKLERS} trickling bodies": Crowd(bodies=_TRICKLERS),
    }
    seconds = max(2.0, _PHASE_S * effort.share)
    found: dict[str, list[list[float]]] = {name: [] for name in crowds}
    late_ms: list[float] = []
    per_request_kb: list[float] = []
    for _, (name, crowd) in in_turn(list(crowds.items()), effort.rounds):
        before = _memory(stack)
        with held(stack, crowd) as (holder, jobs):
            if crowd.streams:
                per_request_kb.append((_memory(stack) - before) / crowd.count / 1000)
            found[name].append(submits_ms(stack.url, seconds))
            if crowd.streams:
                late_ms += _told_after_ms(stack.url, holder, jobs)
    for name, samples in found.items():
        report.add(f"submit p50, {name}", [quantile(one, 0.5) for one in samples], "ms")
        p99 = report.add(f"submit p99, {name}", [quantile(one, 0.99) for one in samples], "ms")
        if name != "alone":
            report.bar(f"submit p99, {name}", p99.median, _BAR_MS, at_least=False)
    report.add("from a job's end to who waits for it, p50", [quantile(late_ms, 0.5)], "ms")
    report.add("from a job's end to who waits for it, p99", [quantile(late_ms, 0.99)], "ms")
    report.add("memory of a held request", per_request_kb, "kB")


def _told_after_ms(url: str, holder: Holder, jobs: Sequence[str]) -> list[float]:
    """End some of the jobs, long-polled and streamed, and return how long after the answer each was told."""
    ended: dict[str, float] = {}
    with httpx.Client(base_url=url, timeout=_WITHIN_S) as client:
        for job in [*jobs[:_ENDED], *jobs[-_ENDED:]]:
            client.post(f"/v1/jobs/{job}/cancel").raise_for_status()
            ended[job] = time.monotonic()
    deadline = time.monotonic() + _WITHIN_S
    while not ended.keys() <= (told := holder.told_at()).keys():
        if time.monotonic() > deadline:
            raise TimeoutError("not everybody who waits was told")
        time.sleep(0.05)
    return [max(0.0, told[job] - at) * 1000 for job, at in ended.items()]


def _more(report: Report, stack: Stack, effort: Effort) -> None:
    """Find how many streams one process holds beside the same submits."""
    for count in _MANY if not effort.is_trial else _MANY[:1]:
        with held(stack, Crowd(streams=count)) as (holder, _):
            samples = submits_ms(stack.url, max(2.0, _PHASE_S * effort.share))
            turned_away = holder.turned_away()
        report.add(f"submit p99, beside {count:,} streams", [quantile(samples, 0.99)], "ms")
        report.add(f"of {count:,} streams that came at once, told to come back", [turned_away], "streams")


def _memory(stack: Stack) -> int:
    """Return the API's resident bytes: gunicorn's process, and the one that it started."""
    parent = psutil.Process(stack.pid("api"))
    return sum(int(one.memory_info().rss) for one in (parent, *parent.children(recursive=True)))


if __name__ == "__main__":
    sys.exit(main())
