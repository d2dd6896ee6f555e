"""The load, in a process of its own: so many pictures in flight, each one submitted and its vector awaited.

`python -m benchmarks.peers.load '{"port": ..., "dialect": [...], ...}'` speaks lines of JSON on its output
and is told by a line on its input that a killed server is back.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.peers.dialects import Dialect, Refused, Ticket, dialect
from benchmarks.peers.http import Connection
from benchmarks.peers.photos import endless, photos


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one run of the load does."""

    port: int
    #: A dialect's name and its argument.
    dialect: tuple[str, str]
    #: `vectors` asks for the demo's photos, `time` measures, `kill` waits for the server's death.
    mode: str
    in_flight: int = 64
    seed: int = 0
    warm_up_s: float = 0.0
    seconds: float = 0.0
    #: `vectors` waits so long for the server to come up, `kill` for the next answer of one that came back.
    patience_s: float = 30.0


@dataclass(slots=True)
class Run:
    """What has come in."""

    latencies_s: list[float] = field(default_factory=list)
    #: When each came, on the monotonic clock, in the same order.
    ends_s: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    #: Set once twice as many have come in as are in flight.
    steady: asyncio.Event = field(default_factory=asyncio.Event)
    #: Promises that were open when the server died, and how many requests had none.
    open_tickets: list[Ticket] = field(default_factory=list)
    unacknowledged: int = 0


async def vectors(plan: Plan, tongue: Dialect) -> list[str]:
    """Return the vectors of the demo's photos, one after the other, once the server answers at all."""
    connection = Connection(plan.port)
    found: list[str] = []
    deadline = time.monotonic() + plan.patience_s
    pictures = photos()
    while len(found) < len(pictures):
        try:
            said = await tongue.submit(connection, pictures[len(found)])
            found.append(await tongue.collect(connection, said) if isinstance(said, Ticket) else said)
        except (OSError, Refused):
            # Not listening yet, or its model is not loaded.
            if found or time.monotonic() > deadline:
                raise
            _say("waiting")
            await asyncio.sleep(0.2)
    connection.close()
    return found


async def timed(plan: Plan, tongue: Dialect) -> dict[str, object]:
    """Keep the load up for a warm-up and the window, and return what came within the window."""
    run, pictures = Run(), endless(plan.seed)
    begin = time.monotonic() + plan.warm_up_s
    end = begin + plan.seconds
    askers = [asyncio.create_task(_ask(plan, tongue, pictures, run, end)) for _ in range(plan.in_flight)]
    await asyncio.sleep(plan.warm_up_s)
    _say("begin")
    cpu_s = time.process_time()
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    cpu_s = time.process_time() - cpu_s
    _say("end")
    await asyncio.gather(*askers)
    inside = [
        latency for latency, ended in zip(run.latencies_s, run.ends_s, strict=True) if begin <= ended < end
    ]
    return {"latencies_s": inside, "seconds": plan.seconds, "cpu_s": cpu_s, "refused": run.refused[:3]}


async def killed(plan: Plan, tongue: Dialect) -> dict[str, object]:
    """Keep the load up until the server dies, then ask the one that follows for what was promised."""
    run, pictures = Run(), endless(plan.seed)
    askers = [asyncio.create_task(_ask(plan, tongue, pictures, run, None)) for _ in range(plan.in_flight)]
    await run.steady.wait()
    _say("steady")
    await asyncio.to_thread(sys.stdin.readline)
    for asker in askers:
        asker.cancel()
    await asyncio.gather(*askers, return_exceptions=True)
    answered = await _collect(plan, tongue, run)
    return {
        "in_flight": len(run.open_tickets) + run.unacknowledged,
        "promised": len(run.open_tickets),
        "answered": answered,
        "refused": run.refused[:3],
    }


async def _ask(plan: Plan, tongue: Dialect, pictures: Iterator[bytes], run: Run, end: float | None) -> None:
    """Ask for one picture after the other until the end, or until the server is gone."""
    connection = Connection(plan.port)
    ticket: Ticket | None = None
    try:
        while end is None or time.monotonic() < end:
            picture, ticket, began = next(pictures), None, time.monotonic()
            try:
                said = await tongue.submit(connection, picture)
                if isinstance(said, Ticket):
                    ticket = said
                    await tongue.collect(connection, ticket)
            except Refused as refusal:
                run.refused.append(str(refusal))
                # A server that turns requests away must not be asked in a tight loop.
                await asyncio.sleep(0.1)
                continue
            run.latencies_s.append(time.monotonic() - began)
            run.ends_s.append(time.monotonic())
            if len(run.ends_s) >= 2 * plan.in_flight:
                run.steady.set()
    except (OSError, asyncio.CancelledError):
        if end is not None:
            raise
        if ticket is None:
            run.unacknowledged += 1
        else:
            run.open_tickets.append(ticket)
    finally:
        connection.close()


async def _collect(plan: Plan, tongue: Dialect, run: Run) -> int:
    """Return how many promises the server that came back has kept."""
    waiting = {asyncio.create_task(_kept(plan, tongue, ticket)) for ticket in run.open_tickets}
    kept = 0
    while waiting:
        done, waiting = await asyncio.wait(
            waiting, timeout=plan.patience_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            break
        kept += sum(task.result() for task in done)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return kept


async def _kept(plan: Plan, tongue: Dialect, ticket: Ticket) -> bool:
    connection = Connection(plan.port)
    try:
        while True:
            try:
                await tongue.collect(connection, ticket)
            except OSError:
                await asyncio.sleep(0.2)
            except Refused:
                return False
            else:
                return True
    finally:
        connection.close()


def _say(word: str, **more: object) -> None:
    sys.stdout.write(json.dumps({"said": word, **more}) + "\n")
    sys.stdout.flush()


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    tongue = dialect(*plan.dialect)
    match plan.mode:
        case "vectors":
            _say("done", vectors=asyncio.run(vectors(plan, tongue)))
        case "time":
            _say("done", **asyncio.run(timed(plan, tongue)))
        case "kill":
            _say("done", **asyncio.run(killed(plan, tongue)))


if __name__ == "__main__":
    main()
