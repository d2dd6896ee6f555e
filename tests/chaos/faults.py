"""The faults of a run, drawn from a seed: which, when, and to whom."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psycopg
import redis

from tests.chaos.proxy import FaultProxy
from tests.chaos.servers import Postgres
from tests.chaos.stage import Program
from tests.chaos.world import LEASE_S, World

#: A worker that is killed before it has begun proves nothing.
_BEGUN_S = 3.0
#: The API needs this long to take its first request.
_SERVING_S = 1.5
#: A worker that goes on has asked after its jobs by then.
_COME_BACK_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One fault of the schedule."""

    #: Seconds after the start.
    at: float
    name: str
    #: Draws whom it hits and how hard.
    seed: int


def schedule(counts: Mapping[str, int], seconds: float, seed: int) -> list[Planned]:
    """Return so many faults of each kind, spread over the time; the same for the same seed."""
    drawn = random.Random(seed)
    planned = [
        # Spread evenly, each at a place of its own in its share of the time.
        Planned(at=(number + drawn.random()) * seconds / count, name=name, seed=drawn.getrandbits(32))
        for name, count in sorted(counts.items())
        for number in range(count)
    ]
    return sorted(planned, key=lambda one: (one.at, one.name))


class Faults:
    """Does what is planned, each kind in a thread of its own, so that faults overlap as in life."""

    def __init__(self, world: World, planned: list[Planned]) -> None:
        self._world = world
        self._planned = planned
        #: What was done, by name.
        self.done: Counter[str] = Counter()
        #: (name, from, to) on `time.time()`.
        self.spans: list[tuple[str, float, float]] = []
        #: Faults that met a server which another one had down just then.
        self.errors: list[str] = []
        self._stopping = threading.Event()
        #: Workers that stand still just now, by name.
        self._standing: set[str] = set()
        self._deeds: Mapping[str, Callable[[random.Random], None]] = {
            "worker kill": self._kill_worker,
            "worker stop": self._stop_worker,
            "worker drain": self._drain_worker,
            "redis kill": lambda _: world.queue.kill(),
            "redis flush": lambda _: world.queue.flush(),
            "redis freeze": lambda drawn: world.queue.freeze(drawn.uniform(1.0, 6.0)),
            "redis full": lambda drawn: world.queue.fill(drawn.uniform(1.0, 4.0)),
            "redis cut": lambda _: world.queue.proxy.reset_all(),
            "redis stall": lambda drawn: self._stall(world.queue.proxy, drawn),
            "api kill": self._kill_api,
            "database restart": lambda _: self._postgres.restart(),
            "database freeze": lambda drawn: self._postgres.freeze(drawn.uniform(1.0, LEASE_S)),
            "database backends": lambda _: self._postgres.terminate_backends(),
            "database cut": lambda _: self._postgres.proxy.reset_all(),
            "database stall": lambda drawn: self._stall(self._postgres.proxy, drawn),
            "database slow": self._slow_database,
            "database lost commits": lambda drawn: self._postgres.proxy.lose_commits(drawn.randint(1, 3)),
            "foreign message": self._foreign_message,
        }

    @property
    def _postgres(self) -> Postgres:
        if not isinstance(self._world.database, Postgres):
            raise TypeError("only PostgreSQL can be hurt so")
        return self._world.database

    def run(self) -> None:
        """Do all of it, and return when the last fault is over."""
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._do_all, args=(name, began), name=name, daemon=True)
            for name in sorted({one.name for one in self._planned})
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._world.heal()

    def stop(self) -> None:
        """Begin no further fault."""
        self._stopping.set()

    def _do_all(self, name: str, began: float) -> None:
        for one in self._planned:
            if one.name != name:
                continue
            if self._stopping.wait(max(0.0, began + one.at - time.monotonic())):
                return
            since = time.time()
            try:
                self._deeds[name](random.Random(one.seed))
            except (psycopg.Error, OSError) as error:
                # Another fault had the server down just then: this one is done again a little later.
                self.errors.append(f"{name}: {type(error).__name__}: {error}")
                self._stopping.wait(2.0)
                with suppress(psycopg.Error, OSError):
                    self._deeds[name](random.Random(one.seed))
            self.done[name] += 1
            self.spans.append((name, since, time.time()))

    def _kill_worker(self, drawn: random.Random) -> None:
        self._some_worker(drawn).send(signal.SIGKILL)

    def _stop_worker(self, drawn: random.Random) -> None:
        """Let a worker stand still for longer than its lease, and then go on."""
        program = self._some_worker(drawn)
        process = program.process
        # Nobody kills it meanwhile: it is to come back and find its jobs taken.
        self._standing.add(program.name)
        program.send(signal.SIGSTOP)
        self._stopping.wait(LEASE_S * drawn.uniform(1.2, 2.0))
        if process is not None:
            process.send(signal.SIGCONT)
        self._stopping.wait(_COME_BACK_S)
        self._standing.discard(program.name)

    def _drain_worker(self, drawn: random.Random) -> None:
        self._some_worker(drawn).send(signal.SIGTERM)

    def _some_worker(self, drawn: random.Random) -> Program:
        """Return a worker that has begun to work; the next one that does, if none has."""
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline:
            here = [one for one in self._world.workers if one.name not in self._standing]
            ready = [one for one in here if one.age_s > _BEGUN_S]
            if ready:
                return drawn.choice(ready)
            self._stopping.wait(0.05)
        return drawn.choice(self._world.workers)

    def _kill_api(self, drawn: random.Random) -> None:
        """Kill the API while it takes submits: only once it serves."""
        deadline = time.monotonic() + 20.0
        while self._world.api.age_s < _SERVING_S and time.monotonic() < deadline:
            self._stopping.wait(0.05)
        self._stopping.wait(drawn.uniform(0.0, 0.3))
        self._world.api.send(signal.SIGKILL)

    def _stall(self, proxy: FaultProxy, drawn: random.Random) -> None:
        side = drawn.choice(["client", "server"])
        proxy.stall(side, on=True)
        self._stopping.wait(drawn.uniform(1.0, 4.0))
        proxy.stall(side, on=False)

    def _slow_database(self, drawn: random.Random) -> None:
        self._postgres.proxy.slow(drawn.uniform(0.005, 0.03))
        self._stopping.wait(drawn.uniform(1.0, 4.0))
        self._postgres.proxy.slow(0.0)

    def _foreign_message(self, drawn: random.Random) -> None:
        # The queue may be down just then.
        with suppress(redis.RedisError):
            self._world.queue.push("iconotext:default", drawn.choice(_FOREIGN))


_PICKLED = (
    b'{"body": "gASVBQAAAAAAAACMAWGULg==", "content-type": "application/x-python-serialize", '
    b'"content-encoding": "binary", "headers": {}, "properties": {"delivery_tag": "1", '
    b'"delivery_info": {}, "body_encoding": "base64"}}'
)
_FOREIGN = (
    b"not json",
    b"{}",
    _PICKLED,
    b"[" * 1000,
)
