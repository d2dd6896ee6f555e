"""A job store on each database, and the means to tell its stories: jobs, failures, time that passes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from shared.database import Database
from shared.jobs import Claim, Job, NewJob, WorkerId, new_job_id
from shared.store import JobStore
from shared.tables import api_keys, deliveries, idempotency_keys, jobs, leaders, webhooks, workers

LEASE = timedelta(seconds=30)
_MOMENTS = {
    jobs: (
        "run_after",
        "lease_until",
        "created_at",
        "retried_at",
        "queued_at",
        "start_by",
        "started_at",
        "finished_at",
        "expires_at",
    ),
    deliveries: ("next_at", "created_at", "ended_at"),
    idempotency_keys: ("created_at",),
    leaders: ("lease_until",),
    workers: ("seen_at",),
    api_keys: ("created_at", "expires_at", "revoked_at"),
    webhooks: ("rotated_at", "failing_since", "created_at"),
}


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database, lease=LEASE, max_attempts=3)


@pytest.fixture
def new_job() -> Callable[..., NewJob]:
    """Return a maker of jobs that differ in their id only, unless told otherwise."""

    def make(**given: Any) -> NewJob:
        return NewJob(**{"id": new_job_id(), "task": "embed", "input": {"texts": ["a cat"]}, **given})

    return make


@pytest.fixture
def submit(store: JobStore, new_job: Callable[..., NewJob]) -> Callable[..., Job]:
    """Return a function that stores one new job."""

    def one(**given: Any) -> Job:
        (job,) = store.create([new_job(**given)])
        return job

    return one


@pytest.fixture
def claim(store: JobStore) -> Callable[..., Claim]:
    """Return a function that claims the one best job of the default pool, or else its one suspect."""

    def one(worker: str = "worker-1", pool: str = "default") -> Claim:
        claims = store.claim(WorkerId(worker), [pool]) or store.claim(WorkerId(worker), [pool], suspects=True)
        (claimed,) = claims
        return claimed

    return one


@pytest.fixture
def later(database: Database) -> Callable[[timedelta], None]:
    """Return a function that lets time pass: every stored moment moves into the past."""

    def shift(length: timedelta) -> None:
        step = length // timedelta(milliseconds=1)
        with database.begin() as connection:
            for table, names in _MOMENTS.items():
                connection.execute(update(table).values({name: table.c[name] - step for name in names}))

    return shift


@pytest.fixture
def lease_ends(later: Callable[[timedelta], None]) -> Callable[[], None]:
    """Return a function that lets every lease run out without a heartbeat."""
    return lambda: later(LEASE + timedelta(seconds=1))


@pytest.fixture
def break_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that breaks the next COMMIT `before` or `after` the database does it."""
    dialect = database.engine.dialect
    original = dialect.do_commit

    def install(when: str) -> None:
        def broken(connection: Any) -> None:
            monkeypatch.setattr(dialect, "do_commit", original)
            if when == "after":
                original(connection)
            raise dialect.loaded_dbapi.OperationalError("connection lost")

        monkeypatch.setattr(dialect, "do_commit", broken)

    return install
