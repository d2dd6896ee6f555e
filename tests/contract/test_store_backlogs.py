"""How much waits: every job that is queued, and no other, by tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from shared.database import Database
from shared.jobs import LOCAL, Claim, Failure, Job, NewJob, Priority, Success, TenantId
from shared.store import JobStore, Load

OTHER = TenantId("other")


def test_nothing_waits_in_an_empty_store(store: JobStore) -> None:
    assert store.queued_load() == {}


def test_what_waits_is_counted_and_weighed_by_tenant(store: JobStore, submit: Callable[..., Job]) -> None:
    for size in (1, 20, 300):
        submit(input_bytes=size, pool=f"pool-{size}", priority=Priority.LOW)
    submit(input_bytes=5 * 2**40, tenant=OTHER)

    assert store.queued_load() == {LOCAL: Load(jobs=3, bytes=321), OTHER: Load(jobs=1, bytes=5 * 2**40)}


def test_what_was_started_or_has_ended_does_not_wait(
    store: JobStore, submit: Callable[..., Job], claim: Callable[..., Claim]
) -> None:
    for _ in range(4):
        submit(input_bytes=1)
    claim()
    store.succeed(claim(), Success(result={}))
    store.fail(claim(), Failure(code="internal", message="no"))
    canceled = submit(input_bytes=1)
    store.cancel(LOCAL, canceled.id)

    assert store.queued_load() == {LOCAL: Load(jobs=1, bytes=1)}


def test_the_load_is_counted_without_a_look_at_a_job(
    store: JobStore, database: Database, new_job: Callable[..., NewJob]
) -> None:
    for _ in range(3):
        store.create([new_job(input={"texts": ["x" * 1000]}) for _ in range(1000)])
    if database.dialect == "postgresql":
        # It answers from an index alone where it knows that the rows are there for all to see.
        with database.singly() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE jobs")

    with _explained(database) as plans:
        store.queued_load()

    # On SQLite, BEGIN is a statement too.
    plan = plans[-1]
    if database.dialect == "postgresql":
        assert any("Index Only Scan using jobs_queued_idx" in str(line) for line in plan), plan
    else:
        assert _columns_of_the_table(plan) == [], plan


@contextmanager
def _explained(database: Database) -> Iterator[list[list[Any]]]:
    """Yield a list that fills with the plan of every statement; on SQLite, with its instructions."""
    explain = "EXPLAIN " if database.dialect == "sqlite" else "EXPLAIN (COSTS OFF) "
    plans: list[list[Any]] = []

    def note(connection: Any, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        cursor = connection.connection.cursor()
        cursor.execute(explain + statement, parameters)
        plans.append(cursor.fetchall())
        cursor.close()

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def _columns_of_the_table(instructions: list[Any]) -> list[Any]:
    """Return the instructions that read a column from anything but an index.

    SQLite's words for a plan do not call it a covering index, since the query names `state`, which is no
    column of it; the instructions show that the table's cursor is opened and never moved.
    """
    # (address, name, cursor, ...); an index is opened with a description of its keys, `k(3,,,)`.
    of_indexes = {row[2] for row in instructions if row[1] == "OpenRead" and str(row[5]).startswith("k(")}
    assert of_indexes
    return [row for row in instructions if row[1] in {"Column", "Rowid"} and row[2] not in of_indexes]


@pytest.mark.parametrize("count", [1, 1000])
def test_the_load_of_a_tenant_grows_with_what_it_submits(
    store: JobStore, new_job: Callable[..., NewJob], count: int
) -> None:
    store.create([new_job(input_bytes=7) for _ in range(count)])

    assert store.queued_load()[LOCAL] == Load(jobs=count, bytes=7 * count)
