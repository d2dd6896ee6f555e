"""What only PostgreSQL has: row locks, sessions, terms of patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, delete, event, select, text

from shared.database import UPGRADE_LOCK, Database, now, upgrade
from shared.errors import StoreUnavailable
from shared.jobs import LOCAL, FileId, Job, JobState, NewJob, Success, TenantId, WorkerId, new_job_id
from shared.store import JobStore
from shared.store.answers import answer
from shared.store.fairness import _ADVANCE_ALONE
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


def test_a_broken_connection_is_replaced(
    postgres: Database, postgres_store: JobStore, database_url: str
) -> None:
    postgres_store.ping()
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    postgres_store.ping()


def test_a_connection_with_news_is_asked_and_kept(postgres: Database, postgres_store: JobStore) -> None:
    def session() -> int:
        with postgres.read() as connection:
            pid: int = connection.scalar(text("SELECT pg_backend_pid()"))
            return pid

    with postgres.read() as connection:
        connection.execute(text("LISTEN news"))
    before = session()
    with psycopg.connect(postgres.engine.url.set(drivername="postgresql").render_as_string(False)) as other:
        other.execute("NOTIFY news")
    assert session() == before


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


def test_an_answer_waits_for_a_purge_of_its_source_and_then_does_without(
    postgres: Database, postgres_store: JobStore
) -> None:
    _create(postgres_store, 1)
    (claim,) = postgres_store.claim(W1, ["default"])
    postgres_store.succeed(claim, Success(result={}))
    new = NewJob(id=new_job_id(), task="embed", input={}, answered_by=claim.id)
    created: list[Job] = []
    creating = threading.Thread(target=lambda: created.extend(postgres_store.create([new])))
    with postgres.begin() as purge:
        purge.execute(delete(jobs).where(jobs.c.id == claim.id))
        creating.start()
        _until(purge, "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted")
    creating.join(30)
    assert [job.state for job in created] == [JobState.QUEUED]


def test_a_purge_leaves_alone_what_is_just_answering(postgres: Database, postgres_store: JobStore) -> None:
    _create(postgres_store, 1)
    (claim,) = postgres_store.claim(W1, ["default"])
    postgres_store.succeed(claim, Success(result={}, result_file=FileId("a" * 64)))
    new = NewJob(id=new_job_id(), task="embed", input={}, answered_by=claim.id)

    # The source is past its time, though the answer's transaction, which is still open, saw it in time.
    with postgres.begin() as connection:
        connection.execute(jobs.update().values(expires_at=now() + 300))
    with postgres.begin() as connection:
        assert len(answer(connection, [new])) == 1
        _until(connection, "SELECT min(expires_at) <= extract(epoch FROM clock_timestamp()) * 1000 FROM jobs")
        assert postgres_store.purge() == []
    assert postgres_store.purge() == [], "the answer names the result's blob"
    assert postgres_store.versions([claim.id, new.id]).keys() == {new.id}


def test_tags_are_taken_without_waiting_for_the_disk_and_jobs_are_not(
    postgres: Database, postgres_store: JobStore
) -> None:
    seen: list[tuple[str, bool, bool]] = []

    def note(_: object, cursor: Any, statement: str, *__: object) -> None:
        table = statement.partition("INTO ")[2].partition(" ")[0]
        seen.append((table, cursor.connection.autocommit, "set_config" in statement))

    event.listen(postgres.engine, "after_cursor_execute", note)
    _create(postgres_store, 1)
    event.remove(postgres.engine, "after_cursor_execute", note)
    assert seen == [("tenant_clocks", True, True), ("jobs", False, False)]
    with postgres.read() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on", "it was off for one statement"
    values = {"pool": "default", "priority": 1, "tenant": LOCAL, "length": 1}
    with postgres.begin() as connection:
        _ADVANCE_ALONE.run(connection, values).all()
        assert connection.scalar(text("SHOW synchronous_commit")) == "off"


def test_submits_of_one_tenant_that_come_together_advance_its_clock_once(
    postgres: Database, postgres_store: JobStore
) -> None:
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(postgres.engine, "before_cursor_execute", note)
    group = postgres_store._tagger._group
    threads = [threading.Thread(target=_create, args=(postgres_store, 1)) for _ in range(8)]
    # As if another thread led.
    group._is_led = True
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(group._waiting) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    group._finish([])
    for thread in threads:
        thread.join(30)
    event.remove(postgres.engine, "before_cursor_execute", note)
    assert sum("INTO tenant_clocks" in statement for statement in statements) == 1
    with postgres.read() as connection:
        assert sorted(connection.scalars(select(jobs.c.vtime))) == list(range(8))


def test_an_upgrade_waits_for_another(postgres: Database, database_url: str) -> None:
    waiting = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    upgrading = threading.Thread(target=upgrade, args=[database_url])
    with postgres.begin() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        upgrading.start()
        _until(other, waiting)
    upgrading.join(30)
    assert not upgrading.is_alive()


def _until(connection: Connection, query: str) -> None:
    deadline = time.monotonic() + 30
    while not connection.scalar(text(query)):
        assert time.monotonic() < deadline
        time.sleep(0.001)
