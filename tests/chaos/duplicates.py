"""Two thousand submits of a hundred keys at once, while the API is killed again and again."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from sqlalchemy import select

from shared.database import Database
from shared.jobs import Json
from shared.tables import idempotency_keys, jobs
from tests.chaos import scenes
from tests.chaos.scenes import Scene
from tests.chaos.stage import Program
from tests.chaos.world import World, world

_KEYS, _FEWEST = 100, 10
_TIMES = 20
#: Of every process of the API, from outside.
_KILLS = 8
#: Of one process, by itself: a submit's job is stored, and nobody has heard of it. About so many.
_SUICIDES = 8
_WORKERS = 2
#: Callers whose keys differ by so many at most come in any order: about so many keys race at a time.
_RACING = 25
#: Callers share pools of connections: one of a thousand would be busy with itself alone.
_POOLS, _CONNECTIONS = 20, 50
_KILLED = "was sent SIGKILL"
_ALL_ANSWERED_S = 300.0
#: For one try, most of which is for an API that is not there.
_TRY_S = 60.0
#: Before a caller tries again.
_PAUSE_S = (0.05, 0.5)
#: What a service in trouble may say.
_LATER = frozenset({429, 503})


def run(scene: Scene) -> int:
    """Each key has one job, and whoever was answered got that of its key."""
    report = scene.report("duplicates")
    with world(scene.kind) as built:
        database = built.database.direct()
        apis = _start(built, scene)
        crowd = _Crowd(built.url, apis, scene)
        spent_s = asyncio.run(crowd.run())
        scenes.require_the_end(database, 120.0)
        found, kept = scenes.ended(database), _kept(database)
        stored, broken = _stored(database), scenes.broken_stories(database)
        killed = [one for one in built.stage.deaths if one.status == -signal.SIGKILL]
        suicides = _lines_with(built.stage.logs, _KILLED)
        database.close()
    got = {key: set(ids) for key, ids in crowd.got.items()}
    report.add("callers", [crowd.callers], "callers")
    report.add("keys", [crowd.keys], "keys")
    report.add("submits sent", [crowd.sent], "submits")
    report.add("answers 202", [crowd.statuses[202]], "answers")
    report.add("answers 200", [crowd.statuses[200]], "answers")
    report.add("broken connections", [crowd.broken], "connections")
    report.add("API processes killed from outside", [len(killed)], "processes")
    report.add("API processes killed after a commit", [suicides], "processes")
    report.add("jobs", [len(stored)], "jobs")
    report.add("time", [spent_s], "s")
    report.note(f"{scene.kind}, seed {scene.seed}, answers {dict(sorted(crowd.statuses.items()))}")
    report.bar("API processes killed", len(killed), 2 * crowd.kills)
    report.bar("jobs beyond one a key", len(stored) - crowd.keys, 0, at_least=False)
    report.bar("keys without a job", crowd.keys - len(set(stored)), 0, at_least=False)
    report.bar("keys with another job than the stored", _strays(got, kept), 0, at_least=False)
    report.bar("keys that answered two jobs", sum(len(one) > 1 for one in got.values()), 0, at_least=False)
    report.bar("callers without an answer", crowd.callers - crowd.answered, 0, at_least=False)
    report.bar("answers 202", crowd.statuses[202], crowd.keys, at_least=False)
    report.bar("answers that are neither", len(crowd.odd), 0, at_least=False)
    report.bar("jobs that did not succeed", crowd.keys - scenes.states(found)["succeeded"], 0, at_least=False)
    report.bar("jobs with two ends", len(broken), 0, at_least=False)
    for words in (*crowd.odd[:10], *broken[:10]):
        report.note(words)
    return report.finish()


def _start(built: World, scene: Scene) -> list[Program]:
    """Start two processes that share the API's socket, and the workers."""
    callers = scene.of(_KEYS, least=_FEWEST) * _TIMES
    points = f"seed={scene.seed},api_after_commit=kill:{scene.of(_SUICIDES, least=3) / callers:g}"
    built.start(_WORKERS, api_failpoints=points)
    other = replace(built.api_command(points), name="api-2", log=built.stage.logs / "api-2.log")
    return [built.api, built.stage.add("api-2", other)]


@dataclass
class _Crowd:
    """Everybody who submits, and whoever kills the API meanwhile."""

    url: str
    apis: list[Program]
    scene: Scene
    keys: int = field(init=False)
    callers: int = field(init=False)
    kills: int = field(init=False)
    sent: int = 0
    answered: int = 0
    broken: int = 0
    #: Of every answer.
    statuses: Counter[int] = field(default_factory=Counter)
    #: The jobs that each key was answered.
    got: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    #: Answers that nobody should get.
    odd: list[str] = field(default_factory=list)
    _marks: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = self.scene.of(_KEYS, least=_FEWEST)
        self.callers = self.keys * _TIMES
        self.kills = self.scene.of(_KILLS, least=3)
        # By answers, not by the clock: so each kill meets an API that serves.
        self._marks = [round(self.callers * place / (self.kills + 1)) for place in range(1, self.kills + 1)]

    async def run(self) -> float:
        """Return how long it took until everybody was answered.

        Raises:
            TimeoutError: somebody never was.
        """
        drawn = random.Random(self.scene.seed)
        order = sorted(
            (number // _TIMES for number in range(self.callers)),
            key=lambda key: key + drawn.uniform(0, _RACING),
        )
        began = time.monotonic()
        async with asyncio.timeout(_ALL_ANSWERED_S), AsyncExitStack() as opened:
            pools = [await opened.enter_async_context(self._pool()) for _ in range(_POOLS)]
            await asyncio.gather(*map(self._call, itertools.cycle(pools), order, itertools.repeat(drawn)))
        return time.monotonic() - began

    def _pool(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        patience = httpx.Timeout(_TRY_S, pool=None)
        return httpx.AsyncClient(base_url=self.url, limits=limits, timeout=patience, trust_env=False)

    async def _call(self, client: httpx.AsyncClient, key: int, drawn: random.Random) -> None:
        """Submit until an answer comes."""
        headers = {"Idempotency-Key": f"{self.scene.seed}-{key}"}
        while True:
            self.sent += 1
            try:
                answer = await client.post("/v1/jobs", json=_body(key), headers=headers)
            except httpx.TransportError:
                self.broken += 1
            else:
                self.statuses[answer.status_code] += 1
                if answer.status_code not in _LATER:
                    self._note(key, answer)
                    return
            await asyncio.sleep(drawn.uniform(*_PAUSE_S))

    def _note(self, key: int, answer: httpx.Response) -> None:
        if answer.status_code not in {200, 202}:
            self.odd.append(f"key {key}: {answer.status_code} {answer.text[:200]}")
            return
        self.answered += 1
        self.got[key].append(answer.json()["id"])
        if self._marks and self.answered >= self._marks[0]:
            self._marks.pop(0)
            for api in self.apis:
                api.send(signal.SIGKILL)


def _body(key: int) -> Json:
    return scenes.text(f"red {key}", labels={"key": str(key)})


def _stored(database: Database) -> list[int]:
    """Return the key of each job that there is."""
    with database.read() as connection:
        rows = connection.execute(select(jobs.c.labels)).scalars()
        found = [json.loads(one) if isinstance(one, str) else one for one in rows]
    return [int(labels["key"]) for labels in found]


def _kept(database: Database) -> dict[int, str]:
    """Return the job that each key stands for, by the table of keys."""
    with database.read() as connection:
        rows = connection.execute(select(idempotency_keys.c.key, idempotency_keys.c.job_id)).all()
    return {int(key.rpartition("-")[2]): job_id for key, job_id in rows}


def _strays(got: dict[int, set[str]], kept: dict[int, str]) -> int:
    return sum(ids != {kept.get(key, "")} for key, ids in got.items())


def _lines_with(logs: Path, words: str) -> int:
    return sum(path.read_text(errors="replace").count(words) for path in logs.glob("api*.log"))
