"""One leader ends dead leases, meets deadlines, and hints again where hints are missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from shared.database import Database
from shared.errors import StoreUnavailable
from shared.jobs import JobId, JobState, WorkerId
from shared.tables import jobs
from tests.unit.worker.conftest import Kernel
from worker.reconciler import Reconciler

EVERY = timedelta(seconds=5)


class Recorder:
    """Hints that are counted, and a list in Redis that is as long as the test says."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.listed = 0

    def send(self, pool: str, job_ids: Sequence[JobId], request_id: str = "") -> None:
        self.sent += [pool] * len(job_ids)

    def backlog(self, _pool: str) -> int:
        return self.listed


def reconciler(kernel: Kernel, hints: Recorder, worker: str = "leader") -> Reconciler:
    return Reconciler(kernel.store, hints, WorkerId(worker), EVERY)  # type: ignore[arg-type]  # what it calls is here


def age(database: Database, by: timedelta) -> None:
    """Move every stored moment of every job into the past."""
    milliseconds = int(by.total_seconds() * 1000)
    columns = ("created_at", "lease_until", "start_by", "expires_at", "finished_at")
    with database.begin() as connection:
        connection.execute(jobs.update().values({name: jobs.c[name] - milliseconds for name in columns}))


def test_a_dead_workers_job_is_claimable_again_and_runs_alone(kernel: Kernel, database: Database) -> None:
    job = kernel.submit()
    kernel.claim("dead worker")
    age(database, timedelta(minutes=1))
    reconciler(kernel, Recorder()).round()
    again = kernel.claim()
    assert (again.id, again.attempt, again.alone) == (job.id, 2, True)


def test_only_the_leader_works(kernel: Kernel, database: Database) -> None:
    reconciler(kernel, Recorder(), "leader").round()
    kernel.submit()
    kernel.claim("dead worker")
    age(database, timedelta(minutes=1))
    reconciler(kernel, Recorder(), "follower").round()
    assert not kernel.store.has_suspects(["default"])
    reconciler(kernel, Recorder(), "leader").round()
    assert kernel.claim().attempt == 2


def test_a_job_that_did_not_start_in_time_expires(kernel: Kernel, database: Database) -> None:
    job = kernel.submit(start_within=timedelta(seconds=10))
    age(database, timedelta(minutes=1))
    reconciler(kernel, Recorder()).round()
    assert kernel.job(job).state is JobState.EXPIRED


def test_hints_are_sent_for_work_that_redis_does_not_know_of(kernel: Kernel) -> None:
    hints = Recorder()
    for _ in range(3):
        kernel.submit()
    hints.listed = 1
    reconciler(kernel, hints).round()
    assert hints.sent == ["default"] * 2


def test_no_hint_is_sent_when_redis_holds_enough(kernel: Kernel) -> None:
    hints = Recorder()
    kernel.submit()
    hints.listed = 1
    reconciler(kernel, hints).round()
    assert hints.sent == []


@pytest.mark.parametrize("broken", ["expire_leases", "expire_deadlines", "backlog"])
def test_what_fails_keeps_nothing_else_from_being_done(
    kernel: Kernel, database: Database, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def away() -> int:
        raise StoreUnavailable("the database was busy")

    hints = Recorder()
    kernel.submit()
    kernel.claim("dead worker")
    late = kernel.submit(start_within=timedelta(seconds=10))
    kernel.submit()
    age(database, timedelta(minutes=1))
    monkeypatch.setattr(kernel.store, broken, lambda *_: away())

    reconciler(kernel, hints).round()

    done = {
        "expire_leases": kernel.store.has_suspects(["default"]),
        "expire_deadlines": kernel.job(late).state is JobState.EXPIRED,
        "backlog": bool(hints.sent),
    }
    assert done == {name: name != broken for name in done}


def test_a_worker_leads_until_it_asks_in_vain(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = reconciler(kernel, Recorder(), "leader"), reconciler(kernel, Recorder(), "follower")
    leader.round()
    follower.round()
    assert (leader.leads, follower.leads) == (True, False)

    def away(*_: object) -> bool:
        raise StoreUnavailable("the database was busy")

    monkeypatch.setattr(kernel.store, "lead", away)
    with pytest.raises(StoreUnavailable):
        leader.round()
    assert not leader.leads


def test_no_lease_is_ended_while_living_workers_may_not_have_been_heard(
    kernel: Kernel, database: Database
) -> None:
    kernel.submit()
    kernel.claim("silent worker")
    age(database, timedelta(minutes=1))
    heard: list[bool] = []
    patient = Reconciler(
        kernel.store,
        Recorder(),  # type: ignore[arg-type]  # what it calls is here
        WorkerId("leader"),
        EVERY,
        may_end_leases=lambda: bool(heard),
    )
    patient.round()
    assert not kernel.store.has_suspects(["default"])
    heard.append(True)
    patient.round()
    assert kernel.store.has_suspects(["default"])
