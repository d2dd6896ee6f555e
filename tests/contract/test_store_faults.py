"""What the store promises when its database fails, and when the host's clock is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from shared.database import Database
from shared.errors import LeaseLost, StoreUnavailable
from shared.jobs import (
    LOCAL,
    Artifact,
    Claim,
    Failure,
    FileId,
    Job,
    JobState,
    NewJob,
    Success,
    TenantId,
    WorkerId,
)
from shared.store import JobStore

Submit = Callable[..., Job]
Claiming = Callable[..., Claim]
Break = Callable[[str], None]

W1 = WorkerId("worker-1")
TRANSIENT = Failure(code="timeout", message="slow", retryable=True)
OK = Success(
    result={}, artifacts=[Artifact(name="n", file=FileId("a" * 64), media_type="image/png", bytes=1)]
)
SETTLEMENTS: dict[str, Callable[[JobStore, Claim], JobState]] = {
    "succeeded": lambda store, claim: store.succeed(claim, OK),
    "failed": lambda store, claim: store.fail(claim, TRANSIENT),
    "running": lambda store, claim: store.requeue(claim, TRANSIENT, timedelta(0)),
    "canceled": lambda store, claim: store.confirm_canceled(claim),
}
every_settlement = pytest.mark.parametrize("state", SETTLEMENTS)


@pytest.fixture
def held(store: JobStore, submit: Submit, claim: Claiming, state: str) -> Claim:
    """Return a claim that can be settled so that its job reaches the state."""
    job = submit()
    held = claim()
    if state == "canceled":
        store.cancel(LOCAL, job.id)
    return held


@every_settlement
def test_a_settlement_whose_answer_was_lost_has_happened(
    store: JobStore, held: Claim, break_commit: Break, state: str
) -> None:
    break_commit("after")
    assert SETTLEMENTS[state](store, held) == state
    assert store.get(LOCAL, held.id).state == state
    with pytest.raises(LeaseLost):
        store.succeed(held, OK)


@every_settlement
def test_a_settlement_that_did_not_happen_says_so_and_may_be_repeated(
    store: JobStore, held: Claim, break_commit: Break, state: str
) -> None:
    before = store.get(LOCAL, held.id)
    break_commit("before")
    with pytest.raises(StoreUnavailable):
        SETTLEMENTS[state](store, held)
    assert store.get(LOCAL, held.id) == before
    SETTLEMENTS[state](store, held)
    assert store.get(LOCAL, held.id).state == state


def test_a_release_whose_answer_was_lost_has_happened(
    store: JobStore, submit: Submit, claim: Claiming, break_commit: Break
) -> None:
    submit()
    held = claim()
    break_commit("after")
    store.release(held)
    assert claim("worker-2").id == held.id


def test_a_submit_whose_answer_was_lost_has_happened(
    store: JobStore, new_job: Callable[..., NewJob], break_commit: Break
) -> None:
    new = [new_job(tenant=TenantId(name)) for name in ("ada", "bob")]
    break_commit("after")
    assert [job.id for job in store.create(new)] == [job.id for job in new]


def test_a_submit_that_did_not_happen_says_so(
    store: JobStore, new_job: Callable[..., NewJob], break_commit: Break
) -> None:
    new = [new_job()]
    break_commit("before")
    with pytest.raises(StoreUnavailable):
        store.create(new)
    assert store.versions([new[0].id]) == {}
    assert store.create(new)[0].id == new[0].id


def test_a_full_or_vanished_database_is_unavailable_and_then_available_again(
    database: Database, store: JobStore, submit: Submit
) -> None:
    job = submit()
    with _broken(database), pytest.raises(StoreUnavailable):
        submit(input={"texts": ["x" * 500_000]})
    assert store.get(LOCAL, job.id) == job
    submit(input={"texts": ["x" * 500_000]})


class _broken:  # noqa: N801  # reads as a verb in `with`
    """SQLite's disk is full; PostgreSQL's connections break within a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sqlite = database.dialect == "sqlite"

    def __enter__(self) -> None:
        event.listen(self._database.engine, "begin", self._break)

    def __exit__(self, *_: object) -> None:
        event.remove(self._database.engine, "begin", self._break)
        if self._sqlite:
            with self._database.read() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")

    def _break(self, connection: Any) -> None:
        if self._sqlite:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        else:
            victim = connection.connection.dbapi_connection.info
            with psycopg.connect(victim.dsn, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [victim.backend_pid])


def test_the_hosts_clock_decides_nothing(
    store: JobStore, new_job: Callable[..., NewJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    early = store.create([new_job(start_within=timedelta(minutes=5))])[0]
    (held,) = store.claim(W1, ["default"])
    store.lead("reconciler", W1, timedelta(minutes=1))
    days = 86_400
    real, real_ns = time.time, time.time_ns
    for skew in (3 * days, -3 * days):
        monkeypatch.setattr(time, "time", lambda skew=skew: real() + skew)
        monkeypatch.setattr(time, "time_ns", lambda skew=skew: real_ns() + skew * 10**9)
        job = store.create([new_job(start_within=timedelta(minutes=5))])[0]
        assert abs(job.created_at - early.created_at) < timedelta(minutes=1)
        assert store.heartbeat(W1, {held.id: held.attempt}, {}).lost == frozenset()
        assert (store.expire_leases(), store.expire_deadlines(), store.purge()) == (0, 0, [])
        assert not store.lead("reconciler", WorkerId("worker-2"), timedelta(minutes=1))
    store.succeed(held, OK)
    done = store.get(LOCAL, held.id)
    assert done.finished_at is not None
    assert abs(done.finished_at - early.created_at) < timedelta(minutes=1)


def test_ping_returns_when_the_database_answers(store: JobStore) -> None:
    store.ping()
