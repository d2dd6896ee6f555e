"""What only PostgreSQL has: row locks, sessions, terms of patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection, select, text

from shared.database import UPGRADE_LOCK, Database, upgrade
from shared.errors import StoreUnavailable
from shared.jobs import LOCAL, Job, NewJob, TenantId, WorkerId, new_job_id
from shared.store import JobStore
from shared.tables import jobs

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

W1 = WorkerId("worker-1")


def _create(store: JobStore, count: int, tenant: TenantId = LOCAL) -> list[Job]:
    return store.create(
        [NewJob(id=new_job_id(), tenant=tenant, task="embed", input={}) for _ in range(count)]
    )


@pytest.fixture
def impatient(postgres: Database, database_url: str) -> Iterator[JobStore]:
    """Return a store that waits for a lock no longer than a tenth of a second."""
    separator = "&" if "?" in database_url else "?"
    database = Database(f"{database_url}{separator}options=-c%20lock_timeout%3D100")
    yield JobStore(database, lease=timedelta(seconds=30), max_attempts=3)
    database.close()


def _lock(connection: Connection, job: Job) -> None:
    connection.execute(select(jobs.c.id).where(jobs.c.id == job.id).with_for_update()).one()


def test_sessions_give_up_in_time(postgres: Database) -> None:
    with postgres.begin() as connection:
        settings = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "application_name",
                "transaction_isolation",
            )
        }
    assert settings == {
        "statement_timeout": "10s",
        "lock_timeout": "5s",
        "idle_in_transaction_session_timeout": "15s",
        "application_name": "iconotext",
        "transaction_isolation": "read committed",
    }


def test_a_claim_does_not_wait_for_a_row_that_another_holds(
    postgres: Database, postgres_store: JobStore, impatient: JobStore
) -> None:
    first, second = _create(postgres_store, 2)
    with postgres.begin() as other:
        _lock(other, first)
        assert [claim.id for claim in impatient.claim(W1, ["default"], limit=2)] == [second.id]
    assert [claim.id for claim in impatient.claim(W1, ["default"], limit=2)] == [first.id]


def test_upkeep_does_not_wait_for_a_row_that_another_holds(
    postgres: Database, postgres_store: JobStore, impatient: JobStore
) -> None:
    (job,) = _create(postgres_store, 1)
    postgres_store.claim(W1, ["default"])
    with postgres.begin() as connection:
        connection.execute(jobs.update().values(lease_until=0))
    with postgres.begin() as other:
        _lock(other, job)
        assert impatient.expire_leases() == 0
    assert impatient.expire_leases() == 1


def test_a_lock_that_is_held_too_long_is_unavailability(
    postgres: Database, postgres_store: JobStore, impatient: JobStore
) -> None:
    (job,) = _create(postgres_store, 1)
    with postgres.begin() as other:
        _lock(other, job)
        with pytest.raises(StoreUnavailable):
            impatient.cancel(LOCAL, job.id)


def test_a_broken_connection_is_replaced(postgres: Database, postgres_store: JobStore) -> None:
    postgres_store.ping()
    with postgres.begin() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                 " AND datname = current_database()")
        )  # fmt: skip
    postgres_store.ping()


def test_submits_of_many_tenants_at_once_do_not_lock_each_other_out(postgres_store: JobStore) -> None:
    tenants = [TenantId(f"tenant-{number}") for number in range(6)]
    start = threading.Barrier(6)
    failures: list[Exception] = []

    def run(place: int) -> None:
        # Each submit takes the same six lines, in another order.
        order = tenants[place:] + tenants[:place]
        start.wait()
        try:
            for _ in range(10):
                postgres_store.create(
                    [NewJob(id=new_job_id(), tenant=tenant, task="embed", input={}) for tenant in order]
                )
        except StoreUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert postgres_store.backlog() == {"default": 360}


def test_an_upgrade_waits_for_another(postgres: Database, database_url: str) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    upgrading = threading.Thread(target=upgrade, args=[database_url])
    with postgres.begin() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        upgrading.start()
        deadline = time.monotonic() + 30
        while other.scalar(waiting) != 1:
            assert upgrading.is_alive()
            assert time.monotonic() < deadline
    upgrading.join(30)
    assert not upgrading.is_alive()
