"""What scenes share: a caller without patience, and what became of its jobs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import select

from benchmarks.report import Report
from shared.database import Database
from shared.jobs import JobState, Json
from shared.tables import jobs
from tests.chaos import checks
from tests.chaos.audit import by_job, faults_in, read
from tests.chaos.world import World

_BATCH = 200
_LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Where a scene takes place."""

    kind: str
    seed: int
    #: Of the whole scene's work.
    share: float

    def of(self, count: int, *, least: int = 1) -> int:
        """Return this share of a count."""
        return max(least, round(count * self.share))

    def report(self, name: str) -> Report:
        """Return the report of a scene; one of a part of its work is a trial."""
        command = f'make chaos ARGS="{name}"'
        return Report(name=f"chaos_{name}", rounds=1, trial=self.share < 1, command=command)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a job ended."""

    state: JobState
    attempt: int
    error_code: str | None
    result: Json | None


def text(words: str, **options: Any) -> Json:
    """Return a submit of one text."""
    return {"task": "embed", "input": {"texts": [words], "encoding": "base64"}, **options}


def caller(world: World, timeout: float = 15.0) -> httpx.Client:
    """Return a client that tries nothing twice."""
    return httpx.Client(base_url=world.url, timeout=timeout, trust_env=False)


def submit(client: httpx.Client, bodies: Sequence[Json]) -> list[str]:
    """Submit all in batches, and return the jobs' ids in order."""
    ids: list[str] = []
    for start in range(0, len(bodies), _BATCH):
        answer = client.post("/v1/jobs:batch", json=list(bodies[start : start + _BATCH])).raise_for_status()
        ids += [outcome["job"]["id"] for outcome in answer.json()["jobs"]]
    return ids


def ended(database: Database) -> Mapping[str, Ended]:
    """Return every job that has ended."""
    query = select(jobs.c.id, jobs.c.state, jobs.c.attempt, jobs.c.error_code, jobs.c.result).where(
        jobs.c.finished_at.is_not(None)
    )
    with database.read() as connection:
        return {
            row.id: Ended(
                state=JobState(row.state), attempt=row.attempt, error_code=row.error_code, result=row.result
            )
            for row in connection.execute(query)
        }


def require_the_end(database: Database, seconds: float) -> float:
    """Return how long it took until every job had ended.

    Raises:
        TimeoutError: it never came.
    """
    if (spent := checks.wait_for_the_end(database, seconds)) is None:
        raise TimeoutError(f"jobs were left after {seconds:g} s")
    return spent


def broken_stories(database: Database) -> list[str]:
    """Return what happened to jobs that may never happen."""
    return [
        f"{job_id}: {words}" for job_id, story in by_job(read(database)).items() for words in faults_in(story)
    ]


def states(found: Mapping[str, Ended]) -> Counter[str]:
    """Return how many jobs ended in each state."""
    return Counter(one.state.value for one in found.values())


def until(condition: Callable[[], object], seconds: float, complaint: str) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{complaint} within {seconds:g} s")
        time.sleep(_LOOK_S)
